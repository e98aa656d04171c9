import { type ExtensionRow, guided, incomplete, refused, type Value } from '../extension.ts';
import { counting, cutText, flag, hex, listed, number, parseNumber, present, text } from '../values.ts';
import { quoted } from '../words.ts';

/* Matches on the host: its users, sockets, processors, sets and counters. */

const INVERT = flag('invert');

/** A user or a group, by name or number, or a range of numbers. */
function account(kind: 'uid' | 'gid'): Value {
  const [first, last] = kind === 'uid' ? ['firstUid', 'lastUid'] : ['firstGid', 'lastGid'];
  return counting(listed('match', kind), {
    words: 1,
    parse(info, [word], place) {
      const named = (kind === 'uid' ? place.names.users() : place.names.groups()).byName.get(word!);
      if (named !== undefined) {
        info[first] = named;
        info[last] = named;
        return;
      }
      const found = /^([^-:]+)(?:[-:](.+))?$/.exec(word!);
      const from = found === null ? undefined : parseNumber(found[1]!, 0xfffffffe);
      const to = found?.[2] === undefined ? from : parseNumber(found[2], 0xfffffffe);
      if (from === undefined || to === undefined)
        throw refused(place, `owner: Bad value for "--${kind}-owner" option: "${word}"`);
      info[first] = from;
      info[last] = to;
    },
    print(info) {
      const [from, to] = [(info[first] as number | undefined) ?? 0, (info[last] as number | undefined) ?? 0];
      return from === to ? String(from) : `${from}-${to}`;
    },
  });
}

// In the order in which the installed iptables looks at them while saving.
const owner: ExtensionRow = {
  name: 'owner',
  revision: 1,
  options: [
    { name: 'socket-exists', value: present(listed('match', 'socket')), invert: listed('invert', 'socket') },
    { name: 'uid-owner', value: account('uid'), invert: listed('invert', 'uid') },
    { name: 'gid-owner', value: account('gid'), invert: listed('invert', 'gid') },
    {
      name: 'suppl-groups',
      value: {
        ...present(listed('match', 'supplementary-groups')),
        parse(info, _words, place) {
          if (!place.given.has('gid-owner'))
            throw refused(place, 'owner: Bad value for "--suppl-groups" option: "you need to use --gid-owner first"');
          listed('match', 'supplementary-groups').set(info);
        },
      },
    },
  ],
  check(_info, given) {
    if (given.size === 0)
      throw incomplete('owner: At least one of --uid-owner, --gid-owner or --socket-exists is required');
  },
};

const socket: ExtensionRow = {
  name: 'socket',
  revision: 3,
  options: [
    { name: 'transparent', value: present(listed('flags', 'transparent')) },
    { name: 'nowildcard', value: present(listed('flags', 'no-wildcard')) },
    { name: 'restore-skmark', value: present(listed('flags', 'restore-mark')) },
  ],
};

const PATH_SIZE = 512;

const cgroup: ExtensionRow = {
  name: 'cgroup',
  revision: 2,
  options: [
    {
      name: 'path',
      value: {
        words: 1,
        parse: text('path', PATH_SIZE).parse,
        print: info => (info.path === undefined ? undefined : quoted(info.path as string)),
      },
      invert: flag('invertPath'),
    },
    {
      name: 'cgroup',
      value: {
        ...number('classid'),
        print: info => (info.classid === undefined ? undefined : String(info.classid)),
      },
      invert: flag('invertClassid'),
    },
  ],
};

const cpu: ExtensionRow = {
  name: 'cpu',
  revision: 0,
  options: [{ name: 'cpu', value: number('cpu'), invert: INVERT, required: true }],
};

const MOST_NODES = 32;

const cluster: ExtensionRow = {
  name: 'cluster',
  revision: 0,
  options: [
    {
      name: 'cluster-local-node',
      value: {
        words: 1,
        parse(info, [word], place) {
          const node = parseNumber(word!, MOST_NODES);
          if (node === undefined || node < 1)
            throw guided(place, `bad value for option "--cluster-local-node", or out of range (1-${MOST_NODES}).`);
          info.nodeMask = (1 << (node - 1)) >>> 0;
        },
        print: () => undefined,
      },
      invert: listed('flags', 'invert'),
      excludes: ['cluster-local-nodemask'],
      hidden: true,
    },
    {
      name: 'cluster-local-nodemask',
      value: number('nodeMask', { min: 1, max: MOST_NODES, print: value => hex(value, 8) }),
      invert: listed('flags', 'invert'),
      excludes: ['cluster-local-node'],
    },
    { name: 'cluster-total-nodes', value: number('totalNodes', { min: 1, max: MOST_NODES }), required: true },
    { name: 'cluster-hash-seed', value: number('hashSeed', { print: value => hex(value, 8) }), required: true },
  ],
  check(info, given) {
    if (!given.has('cluster-local-node') && !given.has('cluster-local-nodemask'))
      throw incomplete("cluster match: `--cluster-local-node' or`--cluster-local-nodemask' is missing");
    if ((info.nodeMask as number) >= 2 ** (info.totalNodes as number))
      throw incomplete(
        given.has('cluster-local-nodemask')
          ? "cluster match: `--cluster-local-nodemask' too big for `--cluster-total-nodes'"
          : "cluster match: `--cluster-local-node' must be <= `--cluster-total-nodes'",
      );
  },
};

const osf: ExtensionRow = {
  name: 'osf',
  revision: 0,
  families: ['ipv4'],
  options: [
    {
      name: 'genre',
      value: {
        words: 1,
        parse(info, [word], _place) {
          info.genre = cutText(word!, 32);
          info.length = word!.length;
        },
        print: info => (info.genre as string | undefined) ?? '',
      },
      invert: listed('flags', 'invert'),
      required: true,
    },
    { name: 'ttl', value: counting(listed('flags', 'ttl'), number('ttl', { max: 2 })) },
    { name: 'log', value: counting(listed('flags', 'log'), number('logLevel', { max: 2 })) },
  ],
};

const nfacct: ExtensionRow = {
  name: 'nfacct',
  revision: 1,
  options: [
    {
      name: 'nfacct-name',
      value: {
        ...text('name', 32, { required: true }),
        print: info => (info.name as string | undefined) ?? '',
      },
      required: true,
    },
  ],
};

export const HOST_MATCHES: readonly ExtensionRow[] = [owner, socket, cgroup, cpu, cluster, osf, nfacct];
