import type { JsonCommand } from '../nft/json-commands.ts';
import { Names } from '../nft/names.ts';
import type { Statement } from '../nft/statements/registry.ts';
import { builtInChain, FAMILIES } from './built-in.ts';
import { IptablesError } from './error.ts';
import { formatRule } from './format-rule.ts';
import { type ListPlace, Shown } from './list/shown.ts';
import type {
  IptablesAddress,
  IptablesExtension,
  IptablesFamily,
  IptablesInterface,
  IptablesRule,
  IptablesRuleset,
} from './model.ts';
import { findMatch, findTarget } from './registry.ts';
import { MATCHES } from './translate/matches.ts';
import { TARGETS } from './translate/targets.ts';
import { match, meta, payload, type Translation } from './translate/translation.ts';
import { lengthOfMask } from './values.ts';

/** A rule in the place of which nothing stands. */
export interface Untranslated {
  /** The rule as iptables saves it, with `-t table` in front. */
  rule: string;
  /** The option, match or target that nft has no words for. */
  argument: string;
  /** Why the rule has no translation. */
  error: IptablesError;
}

/** The rules as nft's JSON. */
export interface NftTranslation {
  /** Tables, chains and rules as `nft -j list ruleset` has them; `Nftables.apply` takes them. */
  nftables: JsonCommand[];
  /**
   * The rules that nft has no words for. Left out if there are none; `Nftables.apply` refuses a document that has it, because a part of the
   * rules would be lost.
   */
  untranslated?: Untranslated[];
}

/**
 * Translates rules of iptables into nft's JSON, as iptables-restore-translate 1.8.9 does.
 *
 * Where that tool writes rules for other packets, this translation is right: it keeps `-p tcp` of a rule with `-m tcp` and no option, and a
 * `!` before `--dport` of udp.
 *
 * @param rules what `parseIptables` gives
 * @example
 * const rules = parseIptables('*filter\n:INPUT DROP\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n');
 * const { nftables, untranslated = [] } = toNft(rules);
 * for (const { rule, argument } of untranslated) console.warn(`${rule}: nft has nothing like ${argument}`);
 * await nft.apply({ nftables });
 */
export function toNft({ family, tables }: IptablesRuleset): NftTranslation {
  const names = new Names();
  const nftables: JsonCommand[] = [];
  const untranslated: Untranslated[] = [];
  let sets = 0;
  for (const { name: table, chains } of tables) {
    const place = { family: FAMILIES[family], table };
    nftables.push({ table: { family: place.family, name: table } });
    for (const { name, policy } of chains) {
      const builtIn = builtInChain(table, name);
      if (builtIn === undefined) {
        nftables.push({ chain: { ...place, name } });
        continue;
      }
      const { type, hook, priority: prio } = builtIn;
      nftables.push({ chain: { ...place, name, type, hook, prio, policy: policy === 'DROP' ? 'drop' : 'accept' } });
    }
    for (const chain of chains)
      for (const rule of chain.rules) {
        const made: JsonCommand[] = [];
        const newSet = (prefix: string, type: 'ipv4_addr' | 'ipv6_addr'): string => {
          const name = `${prefix}${sets + made.length}`;
          made.push({ set: { ...place, name, type, flags: ['dynamic'], size: 65535 } });
          return name;
        };
        const translated = translate(rule, { family, names, newSet });
        if ('argument' in translated) {
          untranslated.push(translated);
          continue;
        }
        sets += made.length;
        nftables.push(...made);
        nftables.push({ rule: { ...place, chain: rule.chain, ...translated } });
      }
  }
  return untranslated.length === 0 ? { nftables } : { nftables, untranslated };
}

interface Translated {
  comment?: string;
  expr: Statement[];
}

function translate(
  rule: IptablesRule,
  { family, names, newSet }: Required<Pick<ListPlace, 'family' | 'names' | 'newSet'>>,
): Translated | Untranslated {
  const at: ListPlace = {
    family,
    names,
    numeric: true,
    protocol: rule.protocol?.number ?? 0,
    protocolInverted: rule.protocol?.invert === true,
    table: rule.table,
    chain: rule.chain,
    newSet,
  };
  const refuse = (argument: string): Untranslated => {
    const text = `-t ${rule.table} ${formatRule(rule, { family, names })}`;
    return {
      rule: text,
      argument,
      error: new IptablesError(`nft has nothing like ${argument}: ${text}`, { argument }),
    };
  };
  const expr: Statement[] = [];
  addInterface(expr, 'iifname', rule.inInterface);
  addInterface(expr, 'oifname', rule.outInterface);
  if (rule.fragment !== undefined)
    expr.push(match({ '&': [payload('ip', 'frag-off'), 0x1fff] }, 0, rule.fragment.invert ? '==' : '!='));
  addAddress(expr, 'saddr', rule.source, family);
  addAddress(expr, 'daddr', rule.destination, family);
  for (const one of rule.matches) {
    const found = extension(findMatch(one.name, family), one, MATCHES, at);
    if (typeof found === 'string') return refuse(`-m ${one.name}${found === '' ? '' : ` --${found}`}`);
    expr.push(...found);
  }
  addProtocol(expr, rule, at);
  expr.push({ counter: { packets: 0, bytes: 0 } } as Statement);
  const { target } = rule;
  if (target !== undefined) {
    if ('verdict' in target) expr.push({ [target.verdict.toLowerCase()]: null } as unknown as Statement);
    else if ('jump' in target) expr.push({ jump: { target: target.jump } });
    else if ('goto' in target) expr.push({ goto: { target: target.goto } });
    else {
      const found = extension(findTarget(target.name, family), target, TARGETS, at);
      if (typeof found === 'string') return refuse(`-j ${target.name}${found === '' ? '' : ` --${found}`}`);
      expr.push(...found);
    }
  }
  const comment = rule.matches.find(({ name }) => name === 'comment');
  const words = comment === undefined || typeof comment.info === 'string' ? undefined : comment.info.comment;
  return words === undefined || words === '' ? { expr } : { comment: String(words), expr };
}

/** The statements of a match or target; the name of the option that nft has nothing for, '' for all of it. */
function extension(
  row: ReturnType<typeof findMatch>,
  { info, revision }: IptablesExtension,
  translations: Readonly<Record<string, Translation>>,
  at: ListPlace,
): Statement[] | string {
  if (row === undefined || typeof info === 'string' || row.revision !== revision) return '';
  const translation = Object.hasOwn(translations, row.name) ? translations[row.name] : undefined;
  return translation === undefined ? '' : translation(new Shown(row, info, at));
}

function addInterface(expr: Statement[], key: string, given: IptablesInterface | undefined): void {
  if (given === undefined) return;
  const { name, invert } = given;
  // Every name begins so: the rule matches all packets, or none.
  if (name === '+' && !invert) return;
  if (name === '+') expr.push(match(meta(key), 'INVAL/D'));
  else expr.push(match(meta(key), name.replace(/\+$/, '*'), invert ? '!=' : '=='));
}

function addAddress(
  expr: Statement[],
  field: string,
  given: IptablesAddress | undefined,
  family: IptablesFamily,
): void {
  if (given === undefined) return;
  const { address, mask, invert } = given;
  const left = payload(FAMILIES[family], field);
  const full = family === 'ipv4' ? 32 : 128;
  const length = mask === undefined ? full : lengthOfMask(mask, family);
  const sign = invert ? '!=' : '==';
  if (length === full) expr.push(match(left, address, sign));
  else if (length === undefined) expr.push(match({ '&': [left, mask] }, address, sign));
  else expr.push(match(left, { prefix: { addr: address, len: length } }, sign));
}

/** Statements that look into the header of a protocol ask for the protocol by themselves: nft lists no other statement for it. */
function addProtocol(expr: Statement[], { protocol }: IptablesRule, { family, names }: ListPlace): void {
  if (protocol === undefined) return;
  const name = names.protocols().byNumber.get(protocol.number) ?? protocol.number;
  const header = HEADERS[String(name)] ?? name;
  const text = JSON.stringify(expr);
  const implied =
    text.includes(`{"payload":{"protocol":"${header}"`) ||
    (name === 'tcp' && text.includes('"tcp option"')) ||
    (name === 'sctp' && text.includes('"sctp chunk"'));
  if (implied && !protocol.invert) return;
  const left = family === 'ipv4' ? payload('ip', 'protocol') : meta('l4proto');
  const at = expr.findIndex(one => !JSON.stringify(one).includes('ifname'));
  expr.splice(at < 0 ? expr.length : at, 0, match(left, name, protocol.invert ? '!=' : '=='));
}

const HEADERS: Readonly<Record<string, string>> = { 'ipv6-icmp': 'icmpv6', ipcomp: 'comp' };
