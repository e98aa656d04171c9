import { type ExtensionRow, refused, type Value } from '../extension.ts';
import { counting, listed, number, parsePorts, resolvedPorts } from '../values.ts';
import { dport, namedDport, namedSport, sport } from './ports.ts';

/* Matches on SCTP and DCCP: ports, chunks and types of packets. */

const IPPROTO = { tcp: 6, udp: 17, dccp: 33, sctp: 132 } as const;

/** Ports of a structure that says by a flag whether they count. */
const flaggedPorts = (key: string, word: string, parse = parsePorts): Value =>
  counting(listed('flags', word), {
    words: 1,
    parse(info, [text], place) {
      info[key] = parse(text!, place);
    },
    print(info) {
      const [first, last] = (info[key] as [number, number] | undefined) ?? [0, 0];
      return first === last ? String(first) : `${first}:${last}`;
    },
  });

const CHUNKS: Readonly<Record<string, number>> = {
  DATA: 0,
  INIT: 1,
  INIT_ACK: 2,
  SACK: 3,
  HEARTBEAT: 4,
  HEARTBEAT_ACK: 5,
  ABORT: 6,
  SHUTDOWN: 7,
  SHUTDOWN_ACK: 8,
  ERROR: 9,
  COOKIE_ECHO: 10,
  COOKIE_ACK: 11,
  ECN_ECNE: 12,
  ECN_CWR: 13,
  SHUTDOWN_COMPLETE: 14,
  I_DATA: 64,
  RE_CONFIG: 130,
  PAD: 132,
  ASCONF: 193,
  ASCONF_ACK: 128,
  FORWARD_TSN: 192,
  I_FORWARD_TSN: 194,
};
/** The letters of flags of chunks, from the highest bit on; `-` is none. */
const CHUNK_FLAGS: Readonly<Record<string, string>> = {
  DATA: '----IUBE',
  I_DATA: '----IUBE',
  ABORT: '-------T',
  SHUTDOWN_COMPLETE: '-------T',
};
const CHUNKMAP_BYTES = 256;
const MATCH_TYPES = ['any', 'all', 'only'];
const MOST_CHUNK_FLAGS = 4;

/** `--chunk-types any DATA:Be,INIT`: capital letters are flags that are set, small ones are not. */
const chunkTypes: Value = counting(listed('flags', 'chunks'), {
  words: 2,
  parse(info, [kind, text], place) {
    const type = MATCH_TYPES.find(one => one === kind!.toLowerCase());
    if (type === undefined) throw refused(place, 'Match type has to be one of "ALL", "ANY" or "ONLY"');
    info.chunkMatchType = type;
    let map = new Uint8Array(CHUNKMAP_BYTES);
    const flagInfo = Buffer.from(NO_CHUNK_FLAGS, 'hex');
    let count = 0;
    for (const word of text!.split(',').filter(Boolean)) {
      const [name = '', letters] = word.split(':');
      const upper = name.toUpperCase();
      if (upper === 'ALL') map.fill(0xff);
      else if (upper === 'NONE') map = new Uint8Array(CHUNKMAP_BYTES);
      else {
        const chunk = Object.hasOwn(CHUNKS, upper) ? CHUNKS[upper]! : undefined;
        if (chunk === undefined) throw refused(place, `Unknown sctp chunk \`${name}'`);
        const word32 = (chunk >> 5) * 4 + ((chunk & 31) >> 3);
        map[word32]! |= 1 << (chunk & 7);
        if (letters === undefined) continue;
        const valid = CHUNK_FLAGS[upper] ?? '--------';
        let [set, mask] = [0, 0];
        for (const letter of letters) {
          const at = valid.indexOf(letter.toUpperCase());
          if (at < 0 || letter === '-') throw refused(place, `Invalid flags for chunk type ${upper}`);
          const bit = 1 << (7 - at);
          mask |= bit;
          if (letter === letter.toUpperCase()) set |= bit;
        }
        if (count >= MOST_CHUNK_FLAGS)
          throw refused(
            place,
            'Number of chunk types with flags exceeds currently allowed limit.Increasing this limit involves changing IPT_NUM_SCTP_FLAGS andrecompiling both the kernel space and user space modules',
          );
        flagInfo.set([chunk, set, mask], count * 3);
        count++;
      }
    }
    info.chunks = Buffer.from(map).toString('hex');
    info.flagInfo = Buffer.from(flagInfo).toString('hex');
    info.flagCount = count;
  },
  print(info) {
    const map = Buffer.from(((info.chunks as string | undefined) ?? '').padEnd(CHUNKMAP_BYTES * 2, '0'), 'hex');
    const flagInfo = Buffer.from(((info.flagInfo as string | undefined) ?? '').padEnd(24, '0'), 'hex');
    const count = (info.flagCount as number | undefined) ?? 0;
    const type = info.chunkMatchType as string | undefined;
    const words: string[] = [];
    if (map.every(byte => byte === 0)) words.push('NONE');
    else if (map.every(byte => byte === 0xff)) words.push('ALL');
    else {
      for (let chunk = 0; chunk < 256; chunk++) {
        if ((map[(chunk >> 5) * 4 + ((chunk & 31) >> 3)]! & (1 << (chunk & 7))) === 0) continue;
        const name = Object.keys(CHUNKS).find(key => CHUNKS[key] === chunk) ?? String(chunk);
        let letters = '';
        for (let i = 0; i < count; i++) {
          if (flagInfo[i * 3] !== chunk || flagInfo[i * 3 + 2] === 0) continue;
          const valid = CHUNK_FLAGS[name] ?? '--------';
          for (let bit = 7; bit >= 0; bit--)
            if ((flagInfo[i * 3 + 2]! & (1 << bit)) !== 0) {
              const letter = valid[7 - bit]!;
              letters += (flagInfo[i * 3 + 1]! & (1 << bit)) !== 0 ? letter.toUpperCase() : letter.toLowerCase();
            }
        }
        words.push(letters === '' ? name : `${name}:${letters}`);
      }
    }
    return `${type ?? 'any'} ${words.join(',')}`;
  },
});

/** A chunk that does not exist stands where none has flags. */
const NO_CHUNK_FLAGS = 'ff0000'.repeat(4);

const sctp: ExtensionRow = {
  name: 'sctp',
  revision: 0,
  initial: () => ({ flagInfo: NO_CHUNK_FLAGS }),
  protocols: [IPPROTO.sctp],
  options: [
    { ...sport, value: flaggedPorts('sourcePorts', 'source-ports') },
    { ...dport, value: flaggedPorts('destinationPorts', 'destination-ports') },
    {
      name: 'chunk-types',
      value: chunkTypes,
      invert: listed('invert', 'chunks'),
      twice: "Only one `--chunk-types' allowed",
      lacking: '--chunk-types requires two args',
    },
  ],
};

const DCCP_TYPES = ['REQUEST', 'RESPONSE', 'DATA', 'ACK', 'DATAACK', 'CLOSEREQ', 'CLOSE', 'RESET', 'SYNC', 'SYNCACK'];
/** All types from the tenth on are not valid. */
const DCCP_INVALID = 0xfc00;

const dccpTypes: Value = counting(listed('flags', 'types'), {
  words: 1,
  parse(info, [text], place) {
    let bits = 0;
    for (const word of text!.split(',').filter(Boolean)) {
      const upper = word.toUpperCase();
      const type = DCCP_TYPES.indexOf(upper);
      if (upper === 'INVALID') bits |= DCCP_INVALID;
      else if (type < 0) throw refused(place, `Unknown DCCP type \`${word}'`);
      else bits |= 1 << type;
    }
    info.types = bits;
  },
  print(info) {
    const bits = (info.types as number | undefined) ?? 0;
    return [...DCCP_TYPES, 'INVALID'].filter((_, i) => (bits & (1 << i)) !== 0).join(',');
  },
});

const dccp: ExtensionRow = {
  name: 'dccp',
  revision: 0,
  protocols: [IPPROTO.dccp],
  options: [
    { ...namedSport, value: flaggedPorts('sourcePorts', 'source-ports', resolvedPorts) },
    { ...namedDport, value: flaggedPorts('destinationPorts', 'destination-ports', resolvedPorts) },
    { name: 'dccp-types', value: dccpTypes, invert: listed('invert', 'types') },
    {
      name: 'dccp-option',
      value: counting(listed('flags', 'option'), number('option', { min: 1, max: 255 })),
      invert: listed('invert', 'option'),
    },
  ],
};

export const SCTP_DCCP_MATCHES: readonly ExtensionRow[] = [sctp, dccp];
