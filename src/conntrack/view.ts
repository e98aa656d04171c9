import { eachAttribute, type Source } from '../codec/index.ts';
import { NLA_HDRLEN } from '../linux/netlink.ts';
import * as C from '../linux/nfnetlink_conntrack.ts';

/*
 * Finds the few attributes that a filter compares, without creating objects. A table may have a million flows, of which ten match.
 * `flowTable` reads the same attributes. A test checks that both agree.
 */

/** The position of an attribute's payload; `start` is -1 if the attribute is absent. */
export class ByteSpan {
  start = -1;
  end = -1;
}

/** The attributes of one direction. */
export class TupleView {
  /** The position of the whole attribute with its header. A request copies it to name the flow. */
  headerStart = -1;
  headerEnd = -1;
  readonly source = new ByteSpan();
  readonly destination = new ByteSpan();
  protocol = -1;
  sourcePort = -1;
  destinationPort = -1;

  clear(): void {
    this.headerStart = -1;
    this.source.start = -1;
    this.destination.start = -1;
    this.protocol = -1;
    this.sourcePort = -1;
    this.destinationPort = -1;
  }
}

/** The attributes of one flow's message. One object is reused for all messages, to save allocations. */
export class FlowView {
  readonly original = new TupleView();
  readonly reply = new TupleView();
  status = 0;
  mark = 0;
  zone = 0;
  readonly id = new ByteSpan();
  #source!: Source;
  #tuple = this.original;

  /** Finds the attributes from `start` to `end`. @throws DecodeError an attribute has a wrong length */
  read(source: Source, start: number, end: number): this {
    this.#source = source;
    this.original.clear();
    this.reply.clear();
    this.status = 0;
    this.mark = 0;
    this.zone = 0;
    this.id.start = -1;
    eachAttribute(source, start, end, this.#attribute);
    return this;
  }

  readonly #attribute = (type: number, start: number, end: number): void => {
    const { view } = this.#source;
    switch (type) {
      case C.CTA_TUPLE_ORIG:
      case C.CTA_TUPLE_REPLY:
        this.#tuple = type === C.CTA_TUPLE_ORIG ? this.original : this.reply;
        this.#tuple.headerStart = start - NLA_HDRLEN;
        this.#tuple.headerEnd = end;
        eachAttribute(this.#source, start, end, this.#part);
        break;
      case C.CTA_STATUS:
        if (end - start === 4) this.status = view.getUint32(start, false);
        break;
      case C.CTA_MARK:
        if (end - start === 4) this.mark = view.getUint32(start, false);
        break;
      case C.CTA_ZONE:
        if (end - start === 2) this.zone = view.getUint16(start, false);
        break;
      case C.CTA_ID:
        this.id.start = start;
        this.id.end = end;
        break;
    }
  };

  readonly #part = (type: number, start: number, end: number): void => {
    if (type === C.CTA_TUPLE_IP) eachAttribute(this.#source, start, end, this.#address);
    else if (type === C.CTA_TUPLE_PROTO) eachAttribute(this.#source, start, end, this.#transport);
  };

  readonly #address = (type: number, start: number, end: number): void => {
    const isSource = type === C.CTA_IP_V4_SRC || type === C.CTA_IP_V6_SRC;
    const place = isSource ? this.#tuple.source : this.#tuple.destination;
    place.start = start;
    place.end = end;
  };

  readonly #transport = (type: number, start: number, end: number): void => {
    const { view } = this.#source;
    const tuple = this.#tuple;
    if (type === C.CTA_PROTO_NUM && end - start === 1) tuple.protocol = view.getUint8(start);
    else if (type === C.CTA_PROTO_SRC_PORT && end - start === 2) tuple.sourcePort = view.getUint16(start, false);
    else if (type === C.CTA_PROTO_DST_PORT && end - start === 2) tuple.destinationPort = view.getUint16(start, false);
  };
}
