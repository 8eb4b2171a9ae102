// Makes elements. Every text becomes a text node: nothing that anybody wrote is read as HTML.

type Content = Node | string | null | false | undefined;

/** An element with these attributes (`onclick` and the like are listeners) and this content. */
export function h<Tag extends keyof HTMLElementTagNameMap>(
	tag: Tag,
	attributes: Record<string, string | boolean | ((event: Event) => void) | undefined> = {},
	...content: Content[]
): HTMLElementTagNameMap[Tag] {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (typeof value === "function") element.addEventListener(name.slice(2), value);
		else if (value === true) element.setAttribute(name, "");
		else if (typeof value === "string") element.setAttribute(name, value);
	}
	element.append(...content.filter(part => part !== null && part !== false && part !== undefined));
	return element;
}

/** A text field, or another control, below its label. */
export function field(label: string, control: HTMLElement, hint?: string): HTMLElement {
	return h("label", { class: "field" }, h("span", { class: "label" }, label), control, hint ? h("span", { class: "hint" }, hint) : null);
}

/** A sentence that went wrong, and one that helps. It is read out. */
export function problem(text: string, help = ""): HTMLElement {
	return h("div", { class: "problem", role: "alert" }, h("p", {}, text), help ? h("p", { class: "hint" }, help) : null);
}

/**
 * Asks one question, in a dialog: `content`, a button to go back, and one that does it. Keyboard and screen reader stay inside.
 *
 * The answer: did they say yes?
 */
export function ask(title: string, content: Content[], cancel: string, yes: string): Promise<boolean> {
	return new Promise(done => {
		const dialog = h(
			"dialog",
			{ "aria-labelledby": "question", onclose: () => { dialog.remove(); done(dialog.returnValue === "yes"); } },
			h(
				"form",
				{ method: "dialog" },
				h("h2", { id: "question" }, title),
				...content,
				h("div", { class: "actions" },
					h("button", { value: "no", class: "quiet", autofocus: true }, cancel),
					h("button", { value: "yes", class: "danger" }, yes)),
			),
		);
		document.body.append(dialog);
		dialog.showModal();
		// The button to go back has the focus, and stands last: on a small screen the question would be out of sight.
		dialog.scrollTop = 0;
	});
}

/** Answers each open question with no: the view that has asked it is gone, or its session is. */
export function closeQuestions(): void {
	for (const dialog of document.querySelectorAll("dialog")) dialog.close("no");
}
