import { describe, expect, it } from 'vitest';
import { IptablesError, type IptablesFamily } from '../../src/iptables/index.ts';
import { IptablesOperations } from '../../src/iptables/iptables-operations.ts';
import { Exchange } from '../../src/netlink/index.ts';
import { runNow } from '../../src/netlink/operation.ts';
import { decodeMessage } from '../../src/nftables/index.ts';
import { ACK, CannedTransport, hex } from '../support/canned-transport.ts';
import { errorOf } from '../support/error-of.ts';

const NLMSG_ERROR = 2;
const [NEWGEN, GETGEN, NEWRULE, COMPAT_GET] = [0x0a0f, 0x0a10, 0x0a06, 0x0b00];
const [ENOENT, EPROTONOSUPPORT] = [2, 93];

type Answer = [type: number, flags: number, payload: Uint8Array];
const refusal = (errno: number): Answer => {
  const payload = new Uint8Array(20);
  new DataView(payload.buffer).setInt32(0, -errno, true);
  return [NLMSG_ERROR, 0, payload];
};

/** A kernel without rules whose extensions have only one revision each, and the requests that it has got. */
class OldKernel extends CannedTransport {
  readonly asked: [name: string, revision: number, type: number][] = [];
  /** Those of the rules that it has taken. */
  taken: [name: string, revision: number][] = [];
  #refused = false;
  readonly #revisions: Readonly<Record<string, number>>;

  constructor(revisions: Readonly<Record<string, number>>) {
    super(request => this.#answer(request));
    this.#revisions = revisions;
  }

  override send(bytes: Uint8Array, length: number): number {
    this.#refused = false;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let at = 0; at < length; at += (view.getUint32(at, true) + 3) & ~3) {
      const size = view.getUint32(at, true);
      super.send(bytes.subarray(at, at + size), size);
    }
    return length;
  }

  #answer(request: Uint8Array): Answer[] {
    const view = new DataView(request.buffer);
    const type = view.getUint16(4, true);
    const flags = view.getUint16(6, true);
    if (type === GETGEN) return [[NEWGEN, 0, hex('00000000 0800 0100 00000007')], ACK];
    if (type === COMPAT_GET) return [this.#compat(request)];
    if (type === NEWRULE) {
      const { expressions } = decodeMessage(request).object as { expressions: Record<string, never>[] };
      const extensions = expressions.flatMap(
        ({ match, target }): { name: string; revision: number }[] => match ?? target ?? [],
      );
      if (extensions.some(({ name, revision }) => this.#revisions[name] !== revision)) {
        this.#refused = true;
        return [refusal(ENOENT)];
      }
      this.taken.push(...extensions.map(({ name, revision }): [string, number] => [name, revision]));
    }
    // NLM_F_DUMP
    if ((flags & 0x300) === 0x300 && (type & 0xff) !== 6) return [[3, 2, new Uint8Array(4)]];
    return (flags & 4) !== 0 && !this.#refused ? [ACK] : [];
  }

  #compat(request: Uint8Array): Answer {
    const bytes = Buffer.from(request);
    const name = bytes.toString('latin1', 24, bytes.indexOf(0, 24));
    const rest = 20 + ((bytes.readUInt16LE(20) + 3) & ~3);
    const [revision, type] = [bytes.readUInt32BE(rest + 4), bytes.readUInt32BE(rest + 12)];
    this.asked.push([name, revision, type]);
    const has = this.#revisions[name];
    return has === revision ? ACK : refusal(has === undefined ? ENOENT : EPROTONOSUPPORT);
  }
}

function open(revisions: Readonly<Record<string, number>>, family: IptablesFamily = 'ipv4') {
  const kernel = new OldKernel(revisions);
  const operations = new IptablesOperations(new Exchange(kernel, 'iptables'), family);
  const restore = (...lines: string[]) => runNow(operations.restore(`*filter\n${lines.join('\n')}\nCOMMIT\n`));
  return { kernel, restore };
}

const CONNTRACK = '-A INPUT -m conntrack --ctstate NEW -j ACCEPT';

describe('The revisions of matches and targets', () => {
  it('are not asked for while the kernel takes the newest', () => {
    const { kernel, restore } = open({ conntrack: 3 });
    restore(CONNTRACK);
    expect(kernel.taken).toEqual([['conntrack', 3]]);
    expect(kernel.asked).toEqual([]);
  });

  it('are those that the kernel has, once for each handle, for one rule or thousands', () => {
    const { kernel, restore } = open({ conntrack: 2, MARK: 2 });
    const lines = Array.from({ length: 40 }, () => '-A INPUT -m conntrack --ctstate NEW -j MARK --set-mark 7');
    restore(...lines);
    expect(kernel.asked).toEqual([
      ['conntrack', 3, 0],
      ['conntrack', 2, 0],
      ['MARK', 2, 1],
    ]);
    expect(kernel.taken).toHaveLength(80);
    expect(kernel.taken.slice(-2)).toEqual([
      ['conntrack', 2],
      ['MARK', 2],
    ]);
    kernel.taken = [];
    restore(CONNTRACK);
    expect(kernel.taken).toEqual([['conntrack', 2]]);
    expect(kernel.asked).toHaveLength(3);
  });

  it('reject a match that the kernel has in no revision with ERR_IPTABLES, and name it', () => {
    const { kernel, restore } = open({ comment: 0 });
    const error = errorOf(IptablesError, () => restore('-A INPUT -m comment --comment a', CONNTRACK));
    expect(error).toMatchObject({ code: 'ERR_IPTABLES', exitCode: 4, argument: 'conntrack', line: 3 });
    expect(error.cause).toMatchObject({ code: 'ERR_UNSUPPORTED', feature: 'the match conntrack of iptables' });
    expect(error.text('iptables-nft-restore')).toBe(
      'Warning: Extension conntrack revision 0 not supported, missing kernel module?\n' +
        'iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (No such file or directory): rule in chain INPUT\n',
    );
    expect(kernel.asked).toEqual([['conntrack', 3, 0]]);
  });

  it('reject an option that the older revision does not have with ERR_IPTABLES', () => {
    const { restore } = open({ conntrack: 2 });
    const error = errorOf(IptablesError, () => restore('-A INPUT -p tcp -m conntrack --ctorigdstport 1:9'));
    expect(error).toMatchObject({ code: 'ERR_IPTABLES', exitCode: 4 });
    expect(error.message).toContain('match conntrack revision 2');
  });
});
