// des.js brings no types. Only what we use of it.
declare module "des.js" {
	interface Cipher {
		update(bytes: number[]): number[];
		final(): number[];
	}
	interface Kind {
		create(options: { type: "encrypt" | "decrypt"; key: number[]; iv: number[] }): Cipher;
	}
	const des: { CBC: { instantiate(of: object): Kind }; EDE: object };
	export default des;
}
