import { typeError } from '../errors.ts';
import { L4_PROTOCOLS } from '../nf_tables/names.ts';
import type { NftObject, NftObjectOf } from '../nf_tables/object.ts';
import { entryOf } from './compile/json-fields.ts';
import { listOf } from './compile/named-set.ts';
import { type OBJECTS, type ObjectName, objectName } from './data/objects.ts';
import { formatDuration, type Vocabulary } from './decompile/format-value.ts';
import type { JsonObject } from './json-object.ts';
import { limitText } from './statements/limit.ts';
import { quotaText } from './statements/quota.ts';
import { exactNumber } from './statements/state.ts';
import { STATES } from './statements/stateful.ts';
import { readSynproxy, SYNPROXY_FLAGS, type SynproxyFlag } from './statements/synproxy.ts';
import { Place, refuse, Undecompilable } from './tree.ts';

/* Objects with names: from nft's JSON to the fields that a transaction takes, and from the kernel's data to nft's JSON and text. */

type Fields = Record<string, unknown>;
type TypeOf<N extends ObjectName> = (typeof OBJECTS)[N]['type'];
type Data<N extends ObjectName> = NonNullable<NftObjectOf<TypeOf<N>>['data']>;
/** An object of a type that nft has a word for. */
export type NamedObject = { [N in ObjectName]: NftObjectOf<TypeOf<N>> }[ObjectName];

interface ObjectRow<D> {
  /** The fields that a transaction takes, without the object's place. */
  data(json: Fields): Fields;
  /** The fields of nft's JSON, without the object's place. */
  json(data: D, words: Vocabulary): JsonObject;
  /** The lines between the braces in nft's text. */
  lines(data: D, words: Vocabulary): string[];
}

/** Does nft have a word for an object of this type? */
export const isNamed = (object: NftObject): object is NamedObject => objectName(object.type) !== undefined;

/** nft's word for the kernel's type of an object. */
export function objectWord(type: NftObject['type'] | undefined): ObjectName {
  const word = objectName(type);
  if (word === undefined) throw new Undecompilable(`an object of the type ${type}`);
  return word;
}

/** The states of connections that have a timeout: nft's names, the kernel's, and the default timeout, which nft does not show. */
const CT_STATES: Readonly<Record<string, readonly (readonly [word: string, state: string, normal: number])[]>> = {
  tcp: [
    ['syn_sent', 'synSent', 120],
    ['syn_recv', 'synReceived', 60],
    ['established', 'established', 432_000],
    ['fin_wait', 'finWait', 120],
    ['close_wait', 'closeWait', 60],
    ['last_ack', 'lastAck', 30],
    ['time_wait', 'timeWait', 120],
    ['close', 'close', 10],
    ['syn_sent2', 'synSent2', 120],
    ['retrans', 'retransmission', 300],
    ['unack', 'unacknowledged', 300],
  ],
  udp: [
    ['unreplied', 'unreplied', 30],
    ['replied', 'replied', 120],
  ],
};

/** The states whose timeout is not the default. */
function timeoutsOf({ l4protocol, stateSeconds = {} }: Data<'ct timeout'>): [word: string, seconds: number][] {
  const given: ReadonlyMap<string, unknown> = new Map(Object.entries(stateSeconds));
  const timeouts: [word: string, seconds: number][] = [];
  for (const [word, state, normal] of CT_STATES[String(l4protocol)] ?? []) {
    const seconds = given.get(state);
    if (typeof seconds === 'number' && seconds !== normal) timeouts.push([word, seconds]);
  }
  return timeouts;
}

/** Listings show the names that this system has for these numbers. */
const L4_NUMBERS: Readonly<Record<string, number>> = L4_PROTOCOLS;

function protocolOf(protocol: string | number | undefined, { names }: Vocabulary): string | number {
  const number = typeof protocol === 'string' ? (L4_NUMBERS[protocol] ?? 0) : (protocol ?? 0);
  return names.protocols().byNumber.get(number) ?? number;
}

function familyOf(family: string | number | undefined): string {
  return typeof family !== 'string' || family === 'unspecified' ? 'unknown' : family;
}

/** The fields of a state's expression, whose only key is its name. */
const inner = (expression: object): Fields => Object.values(expression)[0] as Fields;

const placeOf = (name: ObjectName): Place => new Place(undefined, name);

/** The protocols that nft's JSON has for a helper, a timeout or an expectation. */
const protocols = (json: Fields): Fields => ({
  ...(json.l3proto !== undefined && { l3protocol: json.l3proto }),
  l4protocol: json.protocol,
});

const ROWS: { readonly [N in ObjectName]: ObjectRow<Data<N>> } = {
  counter: {
    data: json => ({ packets: 0n, bytes: 0n, ...inner(STATES.counter.compile(json, placeOf('counter'))) }),
    json: (data, words) => STATES.counter.json(STATES.counter.read(data), { words }) ?? {},
    lines({ packets = 0n, bytes = 0n }) {
      return [`packets ${packets} bytes ${bytes}`];
    },
  },
  quota: {
    data({ bytes = 0, used = 0, inv = false }) {
      return inner(STATES.quota.compile({ val: bytes, used, inv }, placeOf('quota')));
    },
    json(data) {
      const { bytes, used, inverted } = STATES.quota.read(data);
      return { bytes: exactNumber(bytes), used: exactNumber(used), inv: inverted };
    },
    lines: (data, words) => [quotaText(STATES.quota.read(data), { words })],
  },
  limit: {
    data: json => inner(STATES.limit.compile(json, placeOf('limit'))),
    json(data, words) {
      const json = STATES.limit.json(STATES.limit.read(data), { words }) ?? {};
      if (data.burst) return json;
      const { burst: _, burst_unit: __, ...rest } = json;
      return rest;
    },
    lines: (data, words) => [limitText(STATES.limit.read(data), { words }, false)],
  },
  'ct helper': {
    data: json => ({ helper: json.type, ...protocols(json) }),
    json: ({ helper, l3protocol, l4protocol }, words) => ({
      type: helper,
      protocol: protocolOf(l4protocol, words),
      l3proto: familyOf(l3protocol),
    }),
    lines: ({ helper = '', l3protocol, l4protocol }, words) => [
      `type ${words.unwritable.quoted(helper)} protocol ${protocolOf(l4protocol, words)}`,
      `l3proto ${familyOf(l3protocol)}`,
    ],
  },
  'ct timeout': {
    data(json) {
      const { policy = {}, protocol } = json;
      if (typeof policy !== 'object' || policy === null) throw typeError(['policy'], 'an object', policy);
      const known = CT_STATES[String(protocol)] ?? [];
      const states = Object.fromEntries(known.map(([word, state]) => [word, state]));
      // As nft does it: the kernel would take the namespace's own timeouts, which can be others.
      const stateSeconds: Fields = Object.fromEntries(known.map(([, state, normal]) => [state, normal]));
      for (const [word, seconds] of Object.entries(policy)) {
        const place = new Place(new Place(undefined, 'policy'), word);
        stateSeconds[entryOf(states, word, place, 'invalid state for this protocol')] = seconds;
      }
      return { ...protocols(json), stateSeconds };
    },
    json(data, words) {
      const policy = timeoutsOf(data);
      return {
        protocol: protocolOf(data.l4protocol, words),
        l3proto: familyOf(data.l3protocol),
        policy: policy.length === 0 ? null : Object.fromEntries(policy),
      };
    },
    lines(data, words) {
      const duration = (seconds: number) =>
        words.dialect.printsTimeoutUnits ? formatDuration(BigInt(seconds) * 1000n) : String(seconds);
      const policy = timeoutsOf(data).map(([word, seconds]) => `${word} : ${duration(seconds)}`);
      return [
        `protocol ${protocolOf(data.l4protocol, words)}`,
        `l3proto ${familyOf(data.l3protocol)}`,
        `policy = { ${policy.join(', ')} }`,
      ];
    },
  },
  'ct expectation': {
    data(json) {
      const { dport: port, timeout: timeoutMilliseconds = 0, size } = json;
      for (const field of ['protocol', 'dport', 'size'])
        if (json[field] === undefined)
          throw refuse(new Place(undefined, 'name'), `an expectation with ${field}`, json, 'missing options');
      return { ...protocols(json), port, timeoutMilliseconds, size };
    },
    json: ({ l3protocol, l4protocol, port, timeoutMilliseconds, size }, words) => ({
      protocol: protocolOf(l4protocol, words),
      dport: port,
      timeout: timeoutMilliseconds,
      size,
      l3proto: familyOf(l3protocol),
    }),
    lines: ({ l3protocol, l4protocol, port, timeoutMilliseconds = 0, size }, words) => [
      `protocol ${protocolOf(l4protocol, words)}`,
      `dport ${port}`,
      `timeout ${formatDuration(BigInt(timeoutMilliseconds))}`,
      `size ${size}`,
      `l3proto ${familyOf(l3protocol)}`,
    ],
  },
  synproxy: {
    data: json => ({
      maximumSegmentSize: json.mss,
      windowScale: json.wscale,
      flags: [
        'maximum-segment-size',
        'window-scale',
        ...listOf(json.flags, 'flags').map(flag => entryOf(SYNPROXY_FLAGS, flag, new Place(undefined, 'flags'))),
      ],
    }),
    json(data) {
      const { flags } = readSynproxy(data);
      const { maximumSegmentSize: mss = 0, windowScale: wscale = 0 } = data;
      return { mss, wscale, ...(flags.length === 0 ? {} : { flags }) };
    },
    lines(data) {
      const { mss, wscale, flags } = readSynproxy(data);
      const lines: string[] = [];
      if (mss !== undefined) lines.push(`mss ${mss}`);
      if (wscale !== undefined) lines.push(`wscale ${wscale}`);
      // nft prints a space for a flag that is not set.
      const shown = (flag: SynproxyFlag) => (flags.includes(flag) ? flag : '');
      if (flags.length > 0) lines.push(`${shown('timestamp')} ${shown('sack-perm')}`);
      return lines;
    },
  },
  secmark: {
    data: json => ({ context: json.context }),
    json: ({ context }) => ({ context }),
    lines: ({ context = '' }, words) => [words.unwritable.quoted(context)],
  },
  tunnel: { data: tunnelData, json: tunnelJson, lines: tunnelLines },
};

/** The row of a kind of object. Its functions accept the data of that kind only. */
const rowOf = (name: ObjectName): ObjectRow<never> => ROWS[name];

/** The fields that a transaction takes for an object of nft's JSON, without its place. */
export const objectData = (name: ObjectName, json: Fields): Fields => rowOf(name).data(json);

/** The fields of nft's JSON for an object, without its place. */
export const objectJson = ({ type, data = {} }: NamedObject, words: Vocabulary): JsonObject =>
  rowOf(objectWord(type)).json(data as never, words);

/** The lines between the braces of an object in nft's text. */
export const objectLines = ({ type, data = {} }: NamedObject, words: Vocabulary): string[] =>
  rowOf(objectWord(type)).lines(data as never, words);

function tunnelData(json: Fields): Fields {
  const addresses = (version: string) => {
    const source = json[`src-${version}`];
    const destination = json[`dst-${version}`];
    if (source === undefined && destination === undefined) return undefined;
    return { ...(source !== undefined && { source }), ...(destination !== undefined && { destination }) };
  };
  const ip = addresses('ipv4');
  const ip6 = addresses('ipv6');
  const options = tunnelOptions(json);
  return {
    id: json.id,
    ...(ip !== undefined && { ip }),
    ...(ip6 !== undefined && { ip6 }),
    ...(json.sport !== undefined && { sourcePort: json.sport }),
    ...(json.dport !== undefined && { destinationPort: json.dport }),
    ...(json.tos !== undefined && { typeOfService: json.tos }),
    ...(json.ttl !== undefined && { timeToLive: json.ttl }),
    ...(options !== undefined && { options }),
  };
}

function tunnelOptions(json: Fields): Fields[] | undefined {
  const { type, tunnel: given } = json;
  if (type === undefined) return undefined;
  if (type === 'vxlan') return [{ vxlan: { gbp: (given as Fields | undefined)?.gbp ?? 0 } }];
  if (type === 'geneve') {
    if (!Array.isArray(given) || given.length === 0) throw refuse(new Place(undefined, 'tunnel'), 'options', given);
    return given.map((option: Fields) => {
      const data = String(option.data).replace(/^0x/, '');
      return { geneve: { class: option.class, type: option['opt-type'], data } };
    });
  }
  if (type !== 'erspan') throw refuse(new Place(undefined, 'type'), 'one of vxlan, erspan, geneve', type);
  const { version, index, dir, hwid } = (given ?? {}) as Fields;
  if (version === 1) return [{ erspan: { version, index } }];
  return [{ erspan: { version, direction: dir === 'egress' ? 1 : 0, hardwareId: hwid } }];
}

interface TunnelParts {
  six: boolean;
  source: string | undefined;
  destination: string | undefined;
  options: Record<string, Record<string, unknown>>[];
}

function partsOf({ ip, ip6, options }: Data<'tunnel'>): TunnelParts {
  const addresses = ip ?? ip6;
  return {
    six: ip === undefined,
    source: addresses?.source,
    destination: addresses?.destination,
    options: (options ?? []) as TunnelParts['options'],
  };
}

/** nft prints each byte without leading zeros. */
const geneveData = (hex: unknown): string =>
  (String(hex).match(/../g) ?? []).map(byte => Number.parseInt(byte, 16).toString(16)).join('');

function tunnelJson(data: Data<'tunnel'>): JsonObject {
  const { six, source, destination, options } = partsOf(data);
  const base: JsonObject = {
    id: data.id,
    [six ? 'src-ipv6' : 'src-ipv4']: source,
    [six ? 'dst-ipv6' : 'dst-ipv4']: destination,
    sport: data.sourcePort ?? 0,
    dport: data.destinationPort ?? 0,
    tos: data.typeOfService ?? 0,
    ttl: data.timeToLive ?? 0,
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

function tunnelLines(data: Data<'tunnel'>): string[] {
  const { six, source, destination, options } = partsOf(data);
  const family = six ? 'ip6' : 'ip';
  const lines = [`id ${data.id}`];
  if (source !== undefined) lines.push(`${family} saddr ${source}`);
  if (destination !== undefined) lines.push(`${family} daddr ${destination}`);
  if (data.sourcePort) lines.push(`sport ${data.sourcePort}`);
  if (data.destinationPort) lines.push(`dport ${data.destinationPort}`);
  if (data.typeOfService) lines.push(`tos ${data.typeOfService}`);
  if (data.timeToLive) lines.push(`ttl ${data.timeToLive}`);
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
