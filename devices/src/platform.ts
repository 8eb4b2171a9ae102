// What this browser runs on, as far as it says so. Must not know the page.

import type { Key } from "./words.js";

export interface Platform {
	/** Which words are its name. */
	name: Key & `device.${string}`;
	kind: "Phone" | "Tablet" | "Computer";
	/** Which app its owner is likely to use; none where no app takes a key. */
	app?: "conversations" | "poezio" | "swift";
}

/** Of a browser that calls itself so; `touch`: its screen takes several fingers. */
export function platformOf(userAgent: string, touch: boolean): Platform {
	const is = (pattern: RegExp) => pattern.test(userAgent);
	if (is(/Android/) && is(/Mobile/)) return { name: "device.androidPhone", kind: "Phone", app: "conversations" };
	if (is(/Android/)) return { name: "device.androidTablet", kind: "Tablet", app: "conversations" };
	if (is(/iPhone/)) return { name: "device.iphone", kind: "Phone" };
	// An iPad calls itself a Mac.
	if (is(/iPad/) || is(/Macintosh/) && touch) return { name: "device.ipad", kind: "Tablet" };
	if (is(/Macintosh/)) return { name: "device.mac", kind: "Computer", app: "swift" };
	if (is(/Windows/)) return { name: "device.windows", kind: "Computer", app: "swift" };
	if (is(/CrOS/)) return { name: "device.chromebook", kind: "Computer", app: "conversations" };
	return { name: "device.linux", kind: "Computer", app: "poezio" };
}

/** A name that is none of these yet: with a number behind it, if it must be. */
export function freeName(wanted: string, taken: readonly string[]): string {
	let name = wanted;
	for (let number = 2; taken.includes(name); number++) name = `${wanted} ${number}`;
	return name;
}
