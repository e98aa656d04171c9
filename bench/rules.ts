import { type ElementValue, type Expression, ip, type Rule, redirect, type Statement, tcp } from 'netsteer/nftables';

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

const hex = (value: number, bytes: number) => value.toString(16).padStart(2 * bytes, '0');
const hexAddress = (index: number) => hex(0x0a000000 + (index & 0xffffff), 4);

/** The same in the kernel's own expressions. */
function redirectExpressions(index: number): Expression[] {
  return [
    { payload: { base: 'network', offset: 16, length: 4, register: 1 } },
    { cmp: { register: 1, op: 'eq', data: hexAddress(index) } },
    { meta: { key: 'l4proto', register: 1 } },
    { cmp: { register: 1, op: 'eq', data: '06' } },
    { payload: { base: 'transport', offset: 2, length: 2, register: 1 } },
    { cmp: { register: 1, op: 'eq', data: hex(port(index), 2) } },
    { immediate: { register: 1, data: hex(8080, 2) } },
    { redir: { portRegister: 1, flags: ['ports-specified'] } },
  ];
}

export function plainRule(index: number): Rule {
  return { family: 'ip', table: TABLE, chain: CHAIN, expressions: redirectExpressions(index) };
}

/** The values of one redirect. */
export const redirectValues = (index: number) => ({ address: address(index), port: port(index), toPort: 8080 });

/** One redirect as an element of a map: address and port to port. */
export function redirectElement(index: number): ElementValue {
  const { address, port, toPort } = redirectValues(index);
  return { key: [address, port], data: toPort };
}

/** A map of them in nft's own language. */
export function mapText(count: number): string {
  const elements = Array.from({ length: count }, (_, i) => `${address(i)} . ${port(i)} : 8080`);
  return `table ip ${TABLE} {\nmap m {\ntype ipv4_addr . inet_service : inet_service\nelements = { ${elements.join(',\n')} }\n}\n}\n`;
}

/** The rules as iptables-restore takes them. */
export function iptablesText(count: number): string {
  const rules = Array.from(
    { length: count },
    (_, i) => `-A PREROUTING -d ${address(i)} -p tcp --dport ${port(i)} -j REDIRECT --to-ports 8080\n`,
  );
  return `*nat\n${rules.join('')}COMMIT\n`;
}

/** Rules of iptables with the structures of xtables in them, and a remark each. */
export function statefulText(count: number): string {
  const rules = Array.from(
    { length: count },
    (_, i) =>
      `-A INPUT -s ${address(i)}/32 -p tcp -m conntrack --ctstate NEW,ESTABLISHED -m tcp --dport ${port(i)} -m comment --comment "rule ${i}" -j ACCEPT\n`,
  );
  return `*filter\n:INPUT ACCEPT [0:0]\n${rules.join('')}COMMIT\n`;
}

/** The same table, chain and rules in nft's own language. */
export function redirectText(count: number): string {
  const rules = Array.from(
    { length: count },
    (_, i) => `ip daddr ${address(i)} tcp dport ${port(i)} redirect to :8080\n`,
  );
  return `table ip ${TABLE} {\nchain ${CHAIN} {\ntype nat hook prerouting priority -100;\n${rules.join('')}}\n}\n`;
}
