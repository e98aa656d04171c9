import { typeError } from '../errors.ts';
import { listOf } from './compile/named-set.ts';
import { Place, refuse } from './compile/term.ts';
import type { ObjectName } from './data/objects.ts';
import { STATES, type StateName } from './statements/stateful.ts';
import { SYNPROXY_FLAGS } from './statements/synproxy.ts';

/* Objects with names, from nft's JSON to the fields that a transaction takes. */

type Fields = Record<string, unknown>;

/** nft's names of the states that have a timeout. */
const TIMEOUTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  tcp: {
    established: 'established',
    close: 'close',
    close_wait: 'closeWait',
    fin_wait: 'finWait',
    last_ack: 'lastAck',
    retrans: 'retransmission',
    syn_recv: 'synReceived',
    syn_sent: 'synSent',
    syn_sent2: 'synSent2',
    time_wait: 'timeWait',
    unack: 'unacknowledged',
  },
  udp: { unreplied: 'unreplied', replied: 'replied' },
};

/** The data of an object: its fields without family, table and name. */
export function objectData(kind: ObjectName, json: Fields): Fields {
  switch (kind) {
    case 'counter':
    case 'limit':
      return stateful(kind, json);
    case 'quota':
      return stateful('quota', { val: json.bytes ?? 0, used: json.used ?? 0, inv: json.inv ?? false });
    case 'ct helper':
      return { helper: json.type, ...protocols(json) };
    case 'ct timeout':
      return timeout(json);
    case 'ct expectation':
      return {
        ...protocols(json),
        port: json.dport,
        timeoutMilliseconds: json.timeout ?? 0,
        size: json.size,
      };
    case 'synproxy': {
      const flags = listOf(json.flags, 'flags').map(flag => named(SYNPROXY_FLAGS, flag, 'flags'));
      return {
        maximumSegmentSize: json.mss,
        windowScale: json.wscale,
        flags: ['maximum-segment-size', 'window-scale', ...flags],
      };
    }
    case 'secmark':
      return { context: json.context };
    case 'tunnel':
      return tunnel(json);
  }
}

function stateful(name: StateName, json: Fields): Fields {
  const expression = STATES[name].compile(json, new Place(undefined, name)) as unknown as Record<string, Fields>;
  return expression[name]!;
}

function named(table: Readonly<Record<string, string>>, name: unknown, field: string): string {
  if (typeof name !== 'string' || !Object.hasOwn(table, name))
    throw refuse(new Place(undefined, field), `one of ${Object.keys(table).join(', ')}`, name);
  return table[name]!;
}

const protocols = (json: Fields): Fields => ({
  ...(json.l3proto !== undefined && { l3protocol: json.l3proto }),
  l4protocol: json.protocol,
});

function timeout(json: Fields): Fields {
  const { policy } = json;
  if (policy === undefined) return protocols(json);
  if (typeof policy !== 'object' || policy === null) throw typeError(['policy'], 'an object', policy);
  const names = TIMEOUTS[json.protocol as string] ?? {};
  const stateSeconds: Fields = {};
  for (const [state, seconds] of Object.entries(policy)) stateSeconds[named(names, state, 'policy')] = seconds;
  return { ...protocols(json), stateSeconds };
}

function tunnel(json: Fields): Fields {
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
