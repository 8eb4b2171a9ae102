// A session of the user: an XMPP client that logs in with SCRAM and manages the list of certificates (XEP-0257).
//
// Must not know the page.

import { $iq, Strophe } from "strophe.js";
import { base64 } from "./certificate.js";
import { Refused } from "./refused.js";
import { saslprep } from "./saslprep.js";

/** What the module says of its host. */
export interface Settings {
	host: string;
	name: string;
	logo: boolean;
	websocket: string;
	secure: boolean;
	max_validity_days?: number;
	min_rsa_bits?: number;
	/** Who makes links: nobody, administrators, or users, too. */
	links: "off" | "admin" | "self";
}

/** A row of the list, as the daemon has it: `certificate.list` in docs/protocol.md. Times are seconds since the epoch. */
export interface Device {
	name: string;
	fingerprint: string;
	not_after: number;
	expired: boolean;
	may_manage: boolean;
	added: Origin;
	last_use?: { at: number; address?: string };
	resources: string[];
	/** The texts that somebody chose, as a person may read them. */
	shown: { name: string; added_jid?: string; address?: string; resources: string[] };
}

/** When something was made, and by what kind of session: one that had logged in with this certificate, with the password, or none of the user's. */
export interface Origin {
	at: number;
	by: "certificate" | "password" | "admin";
	fingerprint?: string;
}

/** A link that a session of the user has made and that nobody has used, as the daemon has it beside the list. It can't be opened with that. */
export interface OwnLink {
	id: string;
	/** Of the device that is to have it. */
	name?: string;
	made: Origin;
	expires: number;
	uses: number;
	shown: { name?: string };
}

/** Why there is no session. */
export type LoginProblem =
	| "otherHost" | "impossible" | "passwordImpossible" | "wrong" | "unreachable" | "plain" | "away" | "disabled" | "refused";

export class LoginFailed extends Error {
	constructor(readonly problem: LoginProblem) {
		super(problem);
	}
}

Strophe.setLogLevel(Strophe.LogLevel.FATAL);

type Connection = InstanceType<typeof Strophe.Connection>;

/** What Strophe's types keep to themselves of its WebSocket. */
interface Transport {
	_streamWrap(text: string): string;
	/** Ends a connection that offers no way to log in. */
	_no_auth_received(): void;
}

export class Session {
	/** The bare address, as the server writes it. */
	readonly address: string;

	private constructor(private readonly connection: Connection, private readonly host: string) {
		this.address = Strophe.getBareJidFromJid(connection.jid) ?? "";
	}

	/**
	 * Logs in. `ended` is called once, when the session ends and the user did not leave: has the server said that it is over?
	 *
	 * Errors: LoginFailed.
	 */
	static async login(settings: Settings, address: string, password: string, ended: (byServer: boolean) => void): Promise<Session> {
		const [username, host] = parted(address, settings.host);
		let secret = saslprep(password) ?? "";
		if (secret === "") throw new LoginFailed("passwordImpossible");
		const connection = new Strophe.Connection(settings.websocket, {
			mechanisms: [Strophe.SASLSHA512, Strophe.SASLSHA256, Strophe.SASLSHA1],
		});
		const { _proto: transport } = connection as unknown as { _proto: Transport };
		// Prosody does not declare the prefix of a stream error on a WebSocket (RFC 7395, 3.3.3): without it that is no XML.
		transport._streamWrap = text => `<wrapper xmlns:stream="${Strophe.NS.STREAM}">${text}</wrapper>`;
		// Where no mechanism suits, Strophe would send the password as it is, to whoever offers jabber:iq:auth (XEP-0078).
		connection._attemptLegacyAuth = () => transport._no_auth_received();
		let patience: ReturnType<typeof setTimeout> | undefined;
		try {
			return await new Promise<Session>((done, failed) => {
				let session: Session | undefined;
				let byServer = false;
				// Nobody waits for ever for a server that accepts connections and is silent.
				patience = setTimeout(() => {
					failed(new LoginFailed("unreachable"));
					connection.disconnect("");
				}, patienceMs);
				const heard = (status: number, condition: string | null, stanza?: Element | null) => {
					const { Status } = Strophe;
					if (status === Status.CONNECTED) {
						forget(connection);
						done(session = new Session(connection, host));
					} else if (status === Status.AUTHFAIL) {
						failed(new LoginFailed(problemOf(stanza ?? null)));
						connection.disconnect("");
					} else if (status === Status.CONNFAIL) {
						failed(new LoginFailed(condition === Strophe.ErrorCondition.NO_AUTH_MECH ? "plain" : "unreachable"));
					} else if (status === Status.ERROR) {
						byServer = true;
					} else if (status === Status.DISCONNECTED) {
						failed(new LoginFailed(byServer ? "refused" : "unreachable"));
						if (session) session.isOver = true;
						if (session && !session.left) ended(byServer);
					}
				};
				const jid = `${username}@${host}/page-${Math.random().toString(16).slice(2, 8)}`;
				// Strophe writes the name into SCRAM as it is. Source: RFC 5802, 5.1.
				const escaped = username.replace(/=/g, "=3D").replace(/,/g, "=2C");
				connection.connect(jid, secret, heard, undefined, undefined, undefined, escaped);
				// Strophe keeps `heard`, and with it all that stands around it.
				secret = "";
			});
		} finally {
			clearTimeout(patience);
			forget(connection);
		}
	}

	/** Has it ended? */
	isOver = false;
	private left = false;

	leave(): void {
		this.left = true;
		this.connection.disconnect("");
	}

	/** The list, in the order in which its certificates were added, and the user's links. Errors: Refused, of this and all below. */
	async list(): Promise<{ devices: Device[]; links: OwnLink[] }> {
		const request = $iq({ type: "get" }).c("items", { xmlns: saslcert }).c("json", { xmlns: json });
		const told = [...(await this.ask(request)).getElementsByTagNameNS(json, "json")];
		const within = (parent: string) =>
			told.filter(element => element.parentElement?.localName === parent).map(element => JSON.parse(element.textContent ?? "") as unknown);
		const [beside] = within("items") as { links?: OwnLink[] }[];
		return { devices: within("item") as Device[], links: beside?.links ?? [] };
	}

	/** Adds a certificate (DER). */
	async append(name: string, certificate: Uint8Array, mayManage: boolean): Promise<void> {
		const request = $iq({ type: "set" }).c("append", { xmlns: saslcert })
			.c("name").t(name).up()
			.c("x509cert").t(base64(certificate)).up();
		await this.ask(mayManage ? request : request.c("no-cert-management"));
	}

	async revoke(name: string): Promise<void> {
		await this.ask($iq({ type: "set" }).c("revoke", { xmlns: saslcert }).c("name").t(name));
	}

	/** Revokes all but one, or none. XEP-0257 has no such request. */
	async revokeOthers(kept: string): Promise<void> {
		await this.run(certs, ["execute"], ["next", { subcmd: "revoke-others" }], ["complete", { cert: kept }]);
	}

	/** Whether the server offers the command for certificates. */
	async hasCommand(): Promise<boolean> {
		const request = $iq({ type: "get", to: this.host }).c("query", { xmlns: items, node: commands });
		const offered = (await this.ask(request)).getElementsByTagNameNS(items, "item");
		return [...offered].some(item => item.getAttribute("node") === certs);
	}

	/** Makes a link with which another device of the user gets its key, under this name. `expires`: seconds since the epoch. */
	async makeLink(name: string): Promise<{ url: string; expires: number }> {
		const { link = "", expires = "" } = await this.run(certs, ["execute"], ["next", { subcmd: "link" }], ["complete", { name }]);
		return { url: link, expires: Date.parse(expires) / 1000 };
	}

	/** Ends the user's link of this id, or `"all"`. */
	async takeBack(id: string): Promise<void> {
		await this.run(certs, ["execute"], ["next", { subcmd: "take-back-links" }], ["complete", { link: id }]);
	}

	/**
	 * Runs a command of the server (XEP-0050), until it is completed: each step has an action, and what it fills in.
	 *
	 * Answers with the last form's fields.
	 */
	private async run(node: string, ...steps: [action: string, filled?: Record<string, string>][]): Promise<Record<string, string>> {
		let id: string | null = null;
		let answer: Element | undefined;
		for (const [action, filled] of steps) {
			const request = $iq({ type: "set", to: this.host }).c("command", { xmlns: commands, node, action, ...(id ? { sessionid: id } : {}) });
			if (filled) request.c("x", { xmlns: dataForms, type: "submit" });
			for (const [name, value] of Object.entries(filled ?? {})) request.c("field", { var: name }).c("value").t(value).up().up();
			answer = (await this.ask(request)).getElementsByTagNameNS(commands, "command")[0];
			const note = answer?.getElementsByTagNameNS(commands, "note")[0];
			if (answer && note?.getAttribute("type") === "error") throw new Refused(codeIn(answer) ?? "", note.textContent ?? "");
			if (answer?.getAttribute("status") === "completed") break;
			id = answer?.getAttribute("sessionid") ?? null;
		}
		const fields = [...answer?.getElementsByTagNameNS(dataForms, "field") ?? []];
		const valueOf = (field: Element) => field.getElementsByTagNameNS(dataForms, "value")[0]?.textContent ?? "";
		return Object.fromEntries(fields.map(field => [field.getAttribute("var") ?? "", valueOf(field)]));
	}

	private ask(request: { tree(): Element }): Promise<Element> {
		// Strophe keeps what nobody sends any more, and says nothing.
		if (this.isOver) return Promise.reject(new Refused("session-over", ""));
		return new Promise((done, failed) => {
			const refused = (stanza: Element | null) => {
				const error = stanza?.getElementsByTagName("error")[0];
				const of = (wanted: boolean) => [...error?.children ?? []].find(child => (child.localName === "text") === wanted);
				const code = error && codeIn(error);
				failed(new Refused(code ?? of(false)?.localName ?? "remote-server-timeout", of(true)?.textContent ?? ""));
			};
			this.connection.sendIQ(request.tree(), done, refused, patienceMs);
		});
	}
}

/** The code of the refusal in this element: a denial in docs/protocol.md, or a stanza error's condition. */
function codeIn(element: Element): string | undefined {
	const text = element.getElementsByTagNameNS(json, "json")[0]?.textContent;
	return text ? (JSON.parse(text) as { denial?: string }).denial : undefined;
}

/** Username and host of what was typed; errors: LoginFailed. */
function parted(address: string, ownHost: string): [string, string] {
	const [username, host = ownHost, ...more] = address.trim().toLowerCase().split("@");
	if (!username || more.length > 0 || /[\s"&'/:<>]/.test(username)) throw new LoginFailed("impossible");
	if (host !== ownHost) throw new LoginFailed("otherHost");
	return [username, host];
}

function problemOf(failure: Element | null): LoginProblem {
	const conditions = [...failure?.children ?? []].map(child => child.localName);
	if (conditions.includes("temporary-auth-failure")) return "away";
	if (conditions.includes("account-disabled")) return "disabled";
	return conditions.includes("not-authorized") || !failure ? "wrong" : "refused";
}

/** Strophe keeps what it logged in with; nothing here needs it again. */
function forget(connection: Connection): void {
	connection.pass = "";
	connection.scram_keys = null;
	connection._sasl_data = {};
}

const patienceMs = 20_000;
const saslcert = "urn:xmpp:saslcert:1";
/** JSON Containers (XEP-0335). */
const json = "urn:xmpp:json:0";
const items = "http://jabber.org/protocol/disco#items";
const dataForms = "jabber:x:data";
const commands = "http://jabber.org/protocol/commands";
const certs = "http://prosody.im/protocol/certs";
