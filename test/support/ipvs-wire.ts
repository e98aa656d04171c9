import { CTRL_ATTR_FAMILY_NAME, GENL_ID_CTRL } from '../../src/linux/genetlink.ts';
import { NETLINK_GENERIC, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from '../../src/linux/netlink.ts';
import { NetlinkSocket, OptionSocket } from '../../src/netlink/index.ts';
import type { NetNs } from '../../src/netns/index.ts';
import { attribute, text } from './ipvs-raw.ts';

/** The answer to one request: payloads behind nlmsghdr, and the errno of the acknowledgement or of the end of the dump. */
export interface Said {
  answers: string[];
  errno: number | undefined;
}

/** IPVS of one namespace, in bytes: requests and socket options as they are, and what comes back. */
export class IpvsWire {
  readonly #socket: NetlinkSocket;
  readonly #options: OptionSocket;
  readonly #family: number;
  readonly #into = Buffer.alloc(65_536);

  constructor(netns: NetNs) {
    this.#socket = new NetlinkSocket({ netns, protocol: NETLINK_GENERIC });
    this.#options = new OptionSocket(netns);
    // Not by the library, which asks once in a process: here there are two kernels.
    const [answer = ''] = this.#say(GENL_ID_CTRL, `03010000${attribute(CTRL_ATTR_FAMILY_NAME, text('IPVS'))}`).answers;
    const [, id = ''] = /^.{8}(?:.{8})*?06000100(.{4})/.exec(answer) ?? [];
    this.#family = Buffer.from(id, 'hex').readUInt16LE(0);
  }

  /** `payload` is genlmsghdr and attributes, in hexadecimal digits. */
  ask(payload: string, isDump = false): Said {
    return this.#say(this.#family, payload, isDump);
  }

  #say(family: number, payload: string, isDump = false): Said {
    const bytes = Buffer.alloc(16 + payload.length / 2);
    bytes.writeUInt32LE(bytes.length, 0);
    bytes.writeUInt16LE(family, 4);
    bytes.writeUInt16LE(NLM_F_REQUEST | NLM_F_ACK | (isDump ? NLM_F_DUMP : 0), 6);
    bytes.write(payload, 16, 'hex');
    this.#socket.send(bytes, bytes.length);
    const said: Said = { answers: [], errno: undefined };
    const into = this.#into;
    for (let length = this.#socket.receive(into); length > 0; length = this.#socket.receive(into))
      for (let at = 0; at < length; ) {
        const size = into.readUInt32LE(at);
        if (into.readUInt16LE(at + 4) === family) said.answers.push(into.toString('hex', at + 16, at + size));
        else said.errno = into.readInt32LE(at + 16);
        at += (size + 3) & ~3;
      }
    return said;
  }

  /** Sets a socket option: the errno. */
  set(name: number, value: string): number {
    return this.#options.set(0, name, Buffer.from(value, 'hex'));
  }

  /** Reads a socket option into a buffer that begins with a request: the errno, or what has been written. */
  get(name: number, request: string, size: number): number | string {
    const buffer = Buffer.alloc(size);
    buffer.write(request, 'hex');
    const length = this.#options.get(0, name, buffer);
    return length < 0 ? length : buffer.toString('hex');
  }

  async close(): Promise<void> {
    await Promise.all([this.#socket.close(), this.#options.close()]);
  }
}
