import { ip, type Rule, redirect, type Statement, tcp } from 'netsteer/nftables';

export const TABLE = 'bench';
export const CHAIN = 'c';
const PORTS = 60_000;

const address = (index: number) => `10.${(index >> 16) & 0xff}.${(index >> 8) & 0xff}.${index & 0xff}`;
const port = (index: number) => 1 + (index % PORTS);

/** One redirect of the deployment, different for each index. */
export function redirectStatements(index: number): Statement[] {
  return [ip.daddr.eq(address(index)), tcp.dport.eq(port(index)), redirect({ to: 8080 })];
}

export function redirectRule(index: number): Rule {
  return { family: 'ip', table: TABLE, chain: CHAIN, statements: redirectStatements(index) };
}

/** The same table, chain and rules in nft's own language. */
export function redirectText(count: number): string {
  const rules = Array.from(
    { length: count },
    (_, i) => `ip daddr ${address(i)} tcp dport ${port(i)} redirect to :8080\n`,
  );
  return `table ip ${TABLE} {\nchain ${CHAIN} {\ntype nat hook prerouting priority -100;\n${rules.join('')}}\n}\n`;
}
