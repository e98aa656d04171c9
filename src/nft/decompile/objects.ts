import type { NftObject } from '../../nf_tables/object.ts';
import { objectName } from '../data/objects.ts';
import type { Json } from '../json-object.ts';
import { limitText } from '../statements/limit.ts';
import { quotaText } from '../statements/quota.ts';
import { exactNumber } from '../statements/state.ts';
import { readState, stateJson } from '../statements/stateful.ts';
import { readSynproxy } from '../statements/synproxy.ts';
import { formatDuration, type Vocabulary } from './format-value.ts';
import { Undecompilable } from './tree.ts';

/* Objects with a name, as nft's JSON and text have them. */

type Type = Exclude<NftObject['type'], number | 'unspecified'>;
export type NftObjectOf<K extends Type = Type> = Extract<NftObject, { type: K }>;
type JsonObject = { [key: string]: Json | undefined };

/** Does nft have a word for an object of this type? */
export const isNamed = ({ type }: NftObject): boolean => objectName(type) !== undefined;

export const objectWord = (type: NftObject['type'] | undefined): string => {
  const word = objectName(type);
  if (word === undefined) throw new Undecompilable(`an object of the type ${type}`);
  return word;
};

/** nft's names of the states of TCP and UDP connections, and the default timeouts, which it does not show. */
const TIMEOUTS: Readonly<Record<string, readonly (readonly [field: string, word: string, normal: number])[]>> = {
  tcp: [
    ['synSent', 'syn_sent', 120],
    ['synReceived', 'syn_recv', 60],
    ['established', 'established', 432000],
    ['finWait', 'fin_wait', 120],
    ['closeWait', 'close_wait', 60],
    ['lastAck', 'last_ack', 30],
    ['timeWait', 'time_wait', 120],
    ['close', 'close', 10],
    ['synSent2', 'syn_sent2', 120],
    ['retransmission', 'retrans', 300],
    ['unacknowledged', 'unack', 300],
  ],
  udp: [
    ['unreplied', 'unreplied', 30],
    ['replied', 'replied', 120],
  ],
};

function timeoutsOf({ data }: NftObjectOf<'ct-timeout'>): [word: string, seconds: number][] {
  const states = (data?.stateSeconds ?? {}) as Record<string, number | undefined>;
  return (TIMEOUTS[String(data?.l4protocol)] ?? []).flatMap(([field, word, normal]) => {
    const seconds = states[field];
    return seconds === undefined || seconds === normal ? [] : [[word, seconds] as [string, number]];
  });
}

/** The numbers of protocols; listings show the names that this system has for them. */
const L4_NUMBERS: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  dccp: 33,
  gre: 47,
  icmpv6: 58,
  sctp: 132,
  udplite: 136,
  generic: 255,
};

function protocolOf(protocol: string | number | undefined, { names }: Vocabulary): string | number {
  const number = typeof protocol === 'string' ? (L4_NUMBERS[protocol] ?? 0) : (protocol ?? 0);
  return names.protocols().byNumber.get(number) ?? number;
}

function familyOf(family: string | number | undefined): string {
  return typeof family !== 'string' || family === 'unspecified' ? 'unknown' : family;
}

export function objectJson(object: NftObjectOf, words: Vocabulary): JsonObject {
  switch (object.type) {
    case 'counter':
    case 'limit':
    case 'quota':
      return statefulJson(object, words);
    case 'secmark':
      return { context: object.data?.context };
    case 'ct-helper':
      return {
        type: object.data?.helper,
        protocol: protocolOf(object.data?.l4protocol, words),
        l3proto: familyOf(object.data?.l3protocol),
      };
    case 'ct-timeout': {
      const policy = timeoutsOf(object);
      return {
        protocol: protocolOf(object.data?.l4protocol, words),
        l3proto: familyOf(object.data?.l3protocol),
        policy: policy.length === 0 ? null : Object.fromEntries(policy),
      };
    }
    case 'ct-expectation':
      return {
        protocol: protocolOf(object.data?.l4protocol, words),
        dport: object.data?.port,
        timeout: object.data?.timeoutMilliseconds,
        size: object.data?.size,
        l3proto: familyOf(object.data?.l3protocol),
      };
    case 'synproxy': {
      const { flags } = readSynproxy(object.data ?? {});
      const { maximumSegmentSize: mss = 0, windowScale: wscale = 0 } = object.data ?? {};
      return { mss, wscale, ...(flags.length === 0 ? {} : { flags }) };
    }
    case 'tunnel':
      return tunnelJson(object);
    default:
      throw new Undecompilable(`an object of the type ${object.type}`);
  }
}

function statefulJson(object: NftObjectOf<'counter' | 'limit' | 'quota'>, words: Vocabulary): JsonObject {
  const statement = readState({ [object.type]: object.data ?? {} } as never);
  if (statement.kind === 'quota')
    return { bytes: exactNumber(statement.bytes), used: exactNumber(statement.used), inv: statement.inverted };
  const json = stateJson(statement, { words })[object.type] as JsonObject;
  if (statement.kind === 'limit' && statement.burst === 0) {
    const { burst: _, burst_unit: __, ...rest } = json;
    return rest;
  }
  return json;
}

interface TunnelParts {
  six: boolean;
  source: string | undefined;
  destination: string | undefined;
  options: Record<string, Record<string, unknown>>[];
}

function partsOf({ data }: NftObjectOf<'tunnel'>): TunnelParts {
  const addresses = data?.ip ?? data?.ip6;
  return {
    six: data?.ip === undefined,
    source: addresses?.source,
    destination: addresses?.destination,
    options: (data?.options ?? []) as TunnelParts['options'],
  };
}

/** nft prints each byte without leading zeros. */
const geneveData = (hex: unknown): string =>
  (String(hex).match(/../g) ?? []).map(byte => Number.parseInt(byte, 16).toString(16)).join('');

function tunnelJson(object: NftObjectOf<'tunnel'>): JsonObject {
  const { data } = object;
  const { six, source, destination, options } = partsOf(object);
  const base: JsonObject = {
    id: data?.id,
    [six ? 'src-ipv6' : 'src-ipv4']: source,
    [six ? 'dst-ipv6' : 'dst-ipv4']: destination,
    sport: data?.sourcePort ?? 0,
    dport: data?.destinationPort ?? 0,
    tos: data?.typeOfService ?? 0,
    ttl: data?.timeToLive ?? 0,
  };
  const first = options[0];
  if (first === undefined) return base;
  if ('vxlan' in first) return { ...base, type: 'vxlan', tunnel: { gbp: Number(first.vxlan?.gbp ?? 0) } };
  if ('erspan' in first) {
    const { version, index, direction, hardwareId } = first.erspan as Record<string, number>;
    const tunnel: JsonObject =
      version === 1 ? { version, index } : { version, dir: direction ? 'egress' : 'ingress', hwid: hardwareId };
    return { ...base, type: 'erspan', tunnel };
  }
  const tunnel = options.map(({ geneve }) => ({
    class: Number(geneve?.class),
    'opt-type': Number(geneve?.type),
    data: `0x${geneveData(geneve?.data)}`,
  }));
  return { ...base, type: 'geneve', tunnel };
}

/** The lines between the braces of an object. */
export function objectLines(object: NftObjectOf, words: Vocabulary): string[] {
  switch (object.type) {
    case 'counter':
    case 'limit':
    case 'quota': {
      const statement = readState({ [object.type]: object.data ?? {} } as never);
      if (statement.kind === 'counter') return [`packets ${statement.packets} bytes ${statement.bytes}`];
      if (statement.kind === 'limit') return [limitText(statement, { words }, false)];
      return statement.kind === 'quota' ? [quotaText(statement, { words })] : [];
    }
    case 'secmark':
      return [words.unwritable.quoted(object.data?.context ?? '')];
    case 'ct-helper':
      return [
        `type ${words.unwritable.quoted(object.data?.helper ?? '')} protocol ${protocolOf(object.data?.l4protocol, words)}`,
        `l3proto ${familyOf(object.data?.l3protocol)}`,
      ];
    case 'ct-timeout': {
      const duration = (seconds: number) =>
        words.dialect.printsTimeoutUnits ? formatDuration(BigInt(seconds) * 1000n) : String(seconds);
      const policy = timeoutsOf(object).map(([word, seconds]) => `${word} : ${duration(seconds)}`);
      return [
        `protocol ${protocolOf(object.data?.l4protocol, words)}`,
        `l3proto ${familyOf(object.data?.l3protocol)}`,
        `policy = { ${policy.join(', ')} }`,
      ];
    }
    case 'ct-expectation':
      return [
        `protocol ${protocolOf(object.data?.l4protocol, words)}`,
        `dport ${object.data?.port}`,
        `timeout ${formatDuration(BigInt(object.data?.timeoutMilliseconds ?? 0))}`,
        `size ${object.data?.size}`,
        `l3proto ${familyOf(object.data?.l3protocol)}`,
      ];
    case 'synproxy':
      return synproxyLines(object);
    case 'tunnel':
      return tunnelLines(object);
    default:
      throw new Undecompilable(`an object of the type ${object.type}`);
  }
}

function synproxyLines(object: NftObjectOf<'synproxy'>): string[] {
  const { flags, maximumSegmentSize, windowScale } = object.data ?? {};
  const lines: string[] = [];
  if (flags?.includes('maximum-segment-size')) lines.push(`mss ${maximumSegmentSize}`);
  if (flags?.includes('window-scale')) lines.push(`wscale ${windowScale}`);
  const words: readonly string[] = readSynproxy(object.data ?? {}).flags;
  const shown = (word: string) => (words.includes(word) ? word : '');
  if (words.length > 0) lines.push(`${shown('timestamp')} ${shown('sack-perm')}`);
  return lines;
}

function tunnelLines(object: NftObjectOf<'tunnel'>): string[] {
  const { data } = object;
  const { six, source, destination, options } = partsOf(object);
  const family = six ? 'ip6' : 'ip';
  const lines = [`id ${data?.id}`];
  if (source !== undefined) lines.push(`${family} saddr ${source}`);
  if (destination !== undefined) lines.push(`${family} daddr ${destination}`);
  if (data?.sourcePort) lines.push(`sport ${data.sourcePort}`);
  if (data?.destinationPort) lines.push(`dport ${data.destinationPort}`);
  if (data?.typeOfService) lines.push(`tos ${data.typeOfService}`);
  if (data?.timeToLive) lines.push(`ttl ${data.timeToLive}`);
  const first = options[0];
  if (first === undefined) return lines;
  if ('vxlan' in first) return [...lines, 'vxlan {', `\tgbp ${first.vxlan?.gbp ?? 0}`, '}'];
  if ('erspan' in first) {
    const { version, index, direction, hardwareId } = first.erspan as Record<string, number>;
    const rest =
      version === 1 ? [`index ${index}`] : [`direction ${direction ? 'egress' : 'ingress'}`, `id ${hardwareId}`];
    return [...lines, 'erspan {', ...[`version ${version}`, ...rest].map(line => `\t${line}`), '}'];
  }
  const hex = (number: unknown) => `0x${Number(number).toString(16)}`;
  const geneve = options.map(
    ({ geneve: each }) => `\tclass ${hex(each?.class)} opt-type ${hex(each?.type)} data "0x${geneveData(each?.data)}"`,
  );
  return [...lines, 'geneve {', ...geneve, '}'];
}
