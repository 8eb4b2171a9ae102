// The server's no, in whichever way it was asked.

/**
 * Why a request was refused: the code of a denial (docs/protocol.md), the condition of a stanza error that has none, or this page's own
 * name for what became of it. `text`: the server's own words, which are English.
 */
export class Refused extends Error {
	constructor(readonly condition: string, readonly text: string) {
		super(condition);
	}
}
