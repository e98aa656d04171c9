import { type AttributeTable, NO_CONTEXT, type Struct } from '../codec/index.ts';
import type { Path } from '../errors.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from '../linux/netlink.ts';
import { type Call, type Exchange, type Message, NLMSG_HDRLEN, type Operation } from '../netlink/index.ts';

/** Flags of requests that create an object, which must not exist yet. */
export const CREATE = NLM_F_CREATE | NLM_F_EXCL;

/** A kind of rtnetlink object: the header of its messages, and the attributes after it. */
export interface Kind<H, A> {
  readonly header: Struct<H>;
  readonly table: AttributeTable<A>;
  /** The same table for requests, which give only the attributes that they change. */
  readonly partial: AttributeTable<Partial<A>>;
}

export function kind<H, A>(header: Struct<H>, table: AttributeTable<A>): Kind<H, A> {
  return { header, table, partial: table.partial() };
}

export interface Request<H, A> {
  type: number;
  /** The C name of the message type, for errors. */
  syscall: string;
  flags?: number;
  header: H;
  value?: Partial<A>;
  subject?: unknown;
  /** Maps the path of a field of the table to the path in the caller's object. Without it, the paths are the same. */
  rename?: (path: Path) => Path;
  refusals?: Refusals;
}

/** Explains the kernel's refusals, by the name of the errno. */
export interface Refusals {
  /** The usual cause of a refusal. */
  hints: Readonly<Record<string, string | undefined>>;
  /** The field that most likely caused the refusal, if the kernel does not name one. */
  blame: Readonly<Record<string, Path | undefined>>;
}

const NONE: Refusals = { hints: {}, blame: {} };

const NOT_PERMITTED =
  'this needs CAP_NET_ADMIN in the user namespace that owns the network namespace, and for a device that goes to another one in its owner too';

export function request<H, A>({ header, table, partial }: Kind<H, A>, options: Request<H, A>): Call {
  const { type, syscall, flags = 0, subject, value = {}, refusals = NONE, rename = path => path } = options;
  return {
    type,
    syscall,
    flags,
    subject,
    write(writer) {
      header.write(writer, options.header);
      partial.write(writer, value as Partial<A>, NO_CONTEXT);
    },
    locate(source, start, end, offset) {
      return rename(table.locate(source, start + NLMSG_HDRLEN + header.size, end, offset, NO_CONTEXT));
    },
    hint: code => refusals.hints[code] ?? (code === 'EPERM' ? NOT_PERMITTED : undefined),
    blame: code => refusals.blame[code],
  };
}

/** Reads the header and the attributes of one reply; undefined for a message of another kind. */
export function read<H, A>({ header, table }: Kind<H, A>, message: Message): [header: H, attributes: A] | undefined {
  const { source, payload, end } = message;
  const head = header.read(source, payload, end);
  const attributes = head && table.read(source, payload + header.size, end, NO_CONTEXT);
  return head && attributes && [head, attributes];
}

/** Reads all objects of a kind. */
export function* dump<H, A>(
  exchange: Exchange,
  kind: Kind<H, A>,
  options: Pick<Request<H, A>, 'type' | 'syscall' | 'header'>,
): Operation<[header: H, attributes: A][]> {
  return yield* exchange.dump(request(kind, options), message => read(kind, message));
}
