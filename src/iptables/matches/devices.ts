import { checkInterface } from '../addresses.ts';
import { type ExtensionRow, incomplete, type OptionRow } from '../extension.ts';
import { counting, hex, listed, namedMark, present } from '../values.ts';

/* Matches on the devices of a packet, and on the way back to its sender. */

function group(key: 'source' | 'destination', name: string): OptionRow {
  const mask = `${key}Mask`;
  return {
    name,
    value: counting(listed('flags', key), {
      words: 1,
      parse(info, [word], place) {
        const found = namedMark(word!, 'group', place);
        info[key] = found.mark;
        info[mask] = found.mask;
      },
      print(info, { names }) {
        const [value, bits] = [(info[key] as number | undefined) ?? 0, (info[mask] as number | undefined) ?? 0];
        if (bits === 0xffffffff) return names.file('group').byNumber.get(value) ?? hex(value);
        return `${hex(value)}/${hex(bits)}`;
      },
    }),
    invert: listed('flags', `invert-${key}`),
  };
}

const devgroup: ExtensionRow = {
  name: 'devgroup',
  revision: 0,
  options: [group('source', 'src-group'), group('destination', 'dst-group')],
  check(_info, given) {
    if (given.size === 0) throw incomplete("devgroup match: You must specify either '--src-group' or '--dst-group'");
  },
};

const INTERFACE_BYTES = 16;

/** A name of a device, and which of its bytes count: all of them and the end, or, before a `+`, those in front. */
function bridgePort(key: 'in' | 'out'): OptionRow {
  const mask = `${key}Mask`;
  return {
    name: `physdev-${key}`,
    value: counting(listed('match', key), {
      words: 1,
      parse(info, [word], place) {
        checkInterface(word!, place.warnings);
        const length = Buffer.byteLength(word!);
        const wildcard = word!.endsWith('+');
        const counted = length === 0 ? 0 : wildcard ? length - 1 : length + 1;
        info[key] = word;
        info[mask] = 'ff'.repeat(counted).padEnd(INTERFACE_BYTES * 2, '0');
      },
      print: info => (info[key] as string | undefined) ?? '',
    }),
    invert: listed('invert', key),
  };
}

const physdev: ExtensionRow = {
  name: 'physdev',
  revision: 0,
  options: [
    { name: 'physdev-is-in', value: present(listed('match', 'is-in')), invert: listed('invert', 'is-in') },
    bridgePort('in'),
    { name: 'physdev-is-out', value: present(listed('match', 'is-out')), invert: listed('invert', 'is-out') },
    bridgePort('out'),
    { name: 'physdev-is-bridged', value: present(listed('match', 'bridged')), invert: listed('invert', 'bridged') },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete('PHYSDEV: no physdev option specified');
  },
};

const rpfilter: ExtensionRow = {
  name: 'rpfilter',
  revision: 0,
  options: [
    { name: 'loose', value: present(listed('flags', 'loose')) },
    { name: 'validmark', value: present(listed('flags', 'valid-mark')) },
    { name: 'accept-local', value: present(listed('flags', 'accept-local')) },
    { name: 'invert', value: present(listed('flags', 'invert')) },
  ],
};

export const DEVICE_MATCHES: readonly ExtensionRow[] = [devgroup, physdev, rpfilter];
