// The page's words, in the browser's language. What a language lacks is said in English.
//
// Must not know the page.

import de from "../words/de.json";
import en from "../words/en.json";
import es from "../words/es.json";
import fr from "../words/fr.json";

export type Key = keyof typeof en;
type Words = Partial<Record<Key, string | string[]>>;

export const languages: Record<string, Words> = { en, de, fr, es };

/** The first of the wanted languages that there is, as the browser names it; English if there is none. */
export function choose(wanted: readonly string[]): string {
	return wanted.find(tag => Object.hasOwn(languages, languageOf(tag))) ?? "en";
}

const languageOf = (tag: string) => tag.toLowerCase().split("-")[0]!;

/** The words of a language, and the way to write a time where it is spoken. */
export class Dictionary {
	readonly language: string;

	/** `tag`: such as `de` or `en-GB`. */
	constructor(private readonly tag: string) {
		this.language = languageOf(tag);
	}

	/** The text of this key; `{name}` in it is filled in. */
	say(key: Key, values: Record<string, string> = {}): string {
		return this.lines(key, values).join(" ");
	}

	/** The same of a text that is a list. */
	lines(key: Key, values: Record<string, string> = {}): string[] {
		const text = languages[this.language]?.[key] ?? en[key];
		return [text].flat().map(line => line.replace(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole));
	}

	/** Both in the browser's own time zone; seconds since the epoch. */
	moment = (seconds: number) => this.format(seconds, { dateStyle: "medium", timeStyle: "short" });
	day = (seconds: number) => this.format(seconds, { dateStyle: "medium" });

	private format(seconds: number, options: Intl.DateTimeFormatOptions): string {
		return new Intl.DateTimeFormat(this.tag, options).format(seconds * 1000);
	}
}
