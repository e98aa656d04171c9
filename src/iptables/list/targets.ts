import { TCP_OPTIONS } from '../targets/headers.ts';
import { levelOf } from '../targets/verdicts.ts';
import { TOS_NAMES } from '../traffic-classes.ts';
import { hex } from '../values.ts';
import type { Listing } from './shown.ts';

/* The targets in the lists of `iptables -L`. */

const U32 = 0xffffffff;
const flags = ({ has }: { has: boolean }, word: string): string => (has ? ` ${word}` : '');

const nat =
  (option: string, before: string): Listing =>
  shown =>
    (shown.has(option) ? ` ${before}${shown.text(option)}` : '') +
    ['random', 'random-fully', 'persistent'].map(word => flags({ has: shown.has(word) }, word)).join('');

/** What a mark becomes. */
function marking(value: number, mask: number): string {
  if (value === 0) return `and ${hex(~mask >>> 0)}`;
  if (value === mask) return `or ${hex(value)}`;
  if (mask === 0) return `xor ${hex(value)}`;
  return mask === U32 ? `set ${hex(value)}` : `xset ${hex(value)}/${hex(mask)}`;
}

const connmark: Listing = shown => {
  const { mode = 'set', shift = 'left' } = shown.info as { mode?: string; shift?: string };
  const [mark, ctmask, nfmask] = [shown.number('ctmark'), shown.number('ctmask'), shown.number('nfmask')];
  const bits = shown.number('shiftBits');
  const shifted = bits === 0 ? '' : ` --${shift}-shift-mark ${bits}`;
  if (mode === 'set') return ` CONNMARK ${marking(mark, ctmask)}${shifted}`;
  let masks = '';
  if (ctmask === nfmask) masks = ctmask === U32 ? '' : ` mask ${hex(ctmask)}`;
  else if (mode === 'save') masks = ` nfmask ${hex(nfmask)} ctmask ~${hex(ctmask)}`;
  else masks = ` ctmask ${hex(ctmask)} nfmask ~${hex(nfmask)}`;
  return ` CONNMARK ${mode}${masks}${shifted}`;
};

const LEVEL_NAMES = ['emerg', 'alert', 'crit', 'error', 'warn', 'notice', 'info', 'debug'];
const LOG_BITS = ['tcp-sequence', 'tcp-options', 'ip-options', 'skuid', 'nflog', 'ether'];
const LOG_WORDS: Readonly<Record<string, string>> = { skuid: 'uid', ether: 'macdecode' };

const log: Listing = shown => {
  const level = levelOf(shown.info);
  const set = LOG_BITS.filter(flag => shown.listed('flags').includes(flag));
  const prefix = shown.info.prefix ? ` prefix "${shown.info.prefix}"` : '';
  const bits = set.reduce((sum, flag) => sum | (1 << LOG_BITS.indexOf(flag)), 0);
  if (shown.at.numeric) return ` LOG flags ${bits} level ${level}${prefix}`;
  return ` LOG level ${LEVEL_NAMES[level] ?? level}${set.map(flag => ` ${LOG_WORDS[flag] ?? flag}`).join('')}${prefix}`;
};

const hops =
  (name: string, prefix: string): Listing =>
  shown => {
    if (shown.has(`${prefix}-set`)) return ` ${name} set to ${shown.text(`${prefix}-set`)}`;
    if (shown.has(`${prefix}-dec`)) return ` ${name} decrement by ${shown.text(`${prefix}-dec`)}`;
    return ` ${name} increment by ${shown.text(`${prefix}-inc`)}`;
  };

const TOS_BY_VALUE = new Map([...TOS_NAMES].map(([name, value]) => [value, titled(name)]));

/** 'minimize-cost': 'Minimize-Cost' */
function titled(name: string): string {
  return name.replace(/(^|-)[a-z]/g, letter => letter.toUpperCase());
}

/** The name of a value that only such names have. */
export function tosName(value: number, mask: number): string | undefined {
  return mask === 0x3f ? TOS_BY_VALUE.get(value) : undefined;
}

const tos: Listing = shown => {
  const [value, mask] = [shown.number('value'), shown.number('mask')];
  const plain = ` TOS set ${shown.text('set-tos')}`;
  if (shown.at.numeric) return plain;
  const name = tosName(value, mask);
  if (name !== undefined) return `  TOS set${name}`;
  if (value === 0) return ` TOS and ${hex(~mask & 0xff, 2)}`;
  if (value === mask) return mask === 0xff ? plain : ` TOS or ${hex(value, 2)}`;
  return mask === 0 ? ` TOS xor ${hex(value, 2)}` : plain;
};

const TCP_OPTION_NAMES = new Map(Object.entries(TCP_OPTIONS).map(([name, option]) => [String(option), name]));

const tcpoptstrip: Listing = shown => {
  if (!shown.has('strip-options')) return '';
  const options = shown.text('strip-options').split(',');
  const words = shown.at.numeric ? options : options.map(option => TCP_OPTION_NAMES.get(option) ?? option);
  return ` TCPOPTSTRIP options ${words.join(',')}`;
};

const ecn: Listing = shown =>
  shown.has('ecn-tcp-remove')
    ? ` ECN TCP remove${shown.each(['ecn-ip-ect'], name => `ECT codepoint=${shown.text(name)}`)}`
    : ` ECN${shown.each(['ecn-tcp-ece', 'ecn-tcp-cwr', 'ecn-ip-ect'], name =>
        name === 'ecn-ip-ect'
          ? `ECT codepoint=${shown.text(name)}`
          : `${name.slice(-3).toUpperCase()}=${shown.text(name)}`,
      )}`;

const hmark: Listing = shown => {
  const offset = shown.has('hmark-offset') ? ` + ${hex(shown.number('offset'))}` : '';
  const ct = shown.has('hmark-tuple') ? ' ct,' : '';
  const parts = shown.each(
    [
      'hmark-src-prefix',
      'hmark-dst-prefix',
      'hmark-sport-mask',
      'hmark-dport-mask',
      'hmark-spi-mask',
      'hmark-sport',
      'hmark-dport',
      'hmark-spi',
      'hmark-proto-mask',
      'hmark-rnd',
    ],
    name => {
      const text = shown.text(name);
      // Whole addresses of IPv6 are printed as nothing.
      const word = name.endsWith('prefix') ? (text === '128' ? '' : text) : hex(Number(text));
      return `${name.slice('hmark-'.length)} ${word}`;
    },
  );
  return ` HMARK mod ${shown.text('hmark-mod')}${offset}${ct}${parts} `;
};

const queue: Listing = shown => {
  const number = shown.has('queue-balance')
    ? `balance ${shown.text('queue-balance')}`
    : `num ${shown.text('queue-num')}`;
  return ` NFQUEUE ${number}${shown.each(['queue-bypass', 'queue-cpu-fanout'], name => name.slice('queue-'.length))}`;
};

const tproxy: Listing = shown =>
  ` TPROXY redirect ${shown.text('on-ip')}:${shown.text('on-port')} mark ${shown.text('tproxy-mark')}`;

/** Each option behind the name, as it is saved. */
const named =
  (name: string): Listing =>
  shown =>
    shown.names.length === 0 ? ` ${name}` : ` ${name} ${shown.plain}`;

export const TARGET_LISTINGS: Readonly<Record<string, Listing>> = {
  REDIRECT: nat('to-ports', 'redir ports '),
  MASQUERADE: nat('to-ports', 'masq ports: '),
  DNAT: nat('to-destination', 'to:'),
  SNAT: nat('to-source', 'to:'),
  NETMAP: shown => ` to:${shown.text('to')}`,
  REJECT: shown => ` reject-with ${shown.text('reject-with')}`,
  LOG: log,
  NFLOG: shown => (shown.names.length === 0 ? '' : ` ${shown.plain}`),
  TRACE: () => '',
  NFQUEUE: queue,
  TPROXY: tproxy,
  TEE: shown => ` TEE gw:${shown.text('gateway')}${shown.each(['oif'], name => `oif=${shown.text(name)}`)}`,
  AUDIT: shown => ` AUDIT ${shown.text('type')}`,
  SYNPROXY: shown => ` SYNPROXY ${shown.plain}${shown.names.length === 0 ? '' : ' '}`,
  MARK: shown => ` MARK ${marking(shown.number('mark'), shown.number('mask'))}`,
  CONNMARK: connmark,
  CONNSECMARK: shown => ` CONNSECMARK ${shown.info.mode}`,
  SECMARK: shown => ` SECMARK selctx ${shown.info.context ?? ''}`,
  HMARK: hmark,
  TTL: hops('TTL', 'ttl'),
  HL: hops('HL', 'hl'),
  DSCP: shown => ` DSCP set ${shown.text('set-dscp')}`,
  TOS: tos,
  ECN: ecn,
  TCPMSS: shown => (shown.has('set-mss') ? ` TCPMSS set ${shown.text('set-mss')}` : ' TCPMSS clamp to PMTU'),
  TCPOPTSTRIP: tcpoptstrip,
  CLASSIFY: shown => {
    const priority = shown.number('priority');
    return ` CLASSIFY set ${(priority >>> 16).toString(16)}:${(priority & 0xffff).toString(16)}`;
  },
  CHECKSUM: () => ' CHECKSUM fill',
  SNPT: named('SNPT'),
  DNPT: named('DNPT'),
  CT: shown => (shown.listed('flags').includes('notrack-alias') ? ' NOTRACK' : named('CT')(shown)),
  IDLETIMER: shown =>
    ` timeout:${shown.text('timeout')} label:${shown.info.label ?? ''}${shown.has('alarm') ? ' alarm' : ''}`,
  RATEEST: shown =>
    ` name ${shown.info.name ?? ''} interval ${shown.text('rateest-interval')} ewmalog ${shown.text('rateest-ewmalog')}`,
};
