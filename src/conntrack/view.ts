import { type Source, view } from '../codec/index.ts';
import { flowTable } from '../ctnetlink/tables.ts';
import { NLA_HDRLEN } from '../linux/netlink.ts';

/*
 * The few fields that decide whether a flow matches, found without allocating: a table may have a million flows of which ten match.
 */

const FLOW = view(flowTable, {
  original: ['original'],
  originalSource4: ['original', 'source4'],
  originalSource6: ['original', 'source6'],
  originalDestination4: ['original', 'destination4'],
  originalDestination6: ['original', 'destination6'],
  originalProtocol: ['original', 'protocol'],
  originalSourcePort: ['original', 'sourcePort'],
  originalDestinationPort: ['original', 'destinationPort'],
  reply: ['reply'],
  replySource4: ['reply', 'source4'],
  replySource6: ['reply', 'source6'],
  replyDestination4: ['reply', 'destination4'],
  replyDestination6: ['reply', 'destination6'],
  replyProtocol: ['reply', 'protocol'],
  replySourcePort: ['reply', 'sourcePort'],
  replyDestinationPort: ['reply', 'destinationPort'],
  status: ['status'],
  mark: ['mark'],
  zone: ['zone'],
  id: ['id'],
});
const { slots: AT, starts } = FLOW;

/** An attribute of the flow that was read last. Of an address there is one for each version. */
export class Place {
  readonly #slots: readonly number[];

  constructor(...slots: number[]) {
    this.#slots = slots;
  }

  get #slot(): number {
    for (const slot of this.#slots) if (starts[slot] !== 0) return slot;
    return -1;
  }

  /** Where its payload begins; -1 where it is absent. */
  get start(): number {
    return this.#slot < 0 ? -1 : starts[this.#slot]!;
  }

  get end(): number {
    return this.#slot < 0 ? -1 : FLOW.end(this.#slot);
  }
}

/** One direction of the flow that was read last. */
export class TupleView {
  readonly source: Place;
  readonly destination: Place;
  readonly #nest: Place;
  readonly #protocol: number;
  readonly #sourcePort: number;
  readonly #destinationPort: number;

  constructor(side: 'original' | 'reply') {
    this.source = new Place(AT[`${side}Source4`], AT[`${side}Source6`]);
    this.destination = new Place(AT[`${side}Destination4`], AT[`${side}Destination6`]);
    this.#nest = new Place(AT[side]);
    this.#protocol = AT[`${side}Protocol`];
    this.#sourcePort = AT[`${side}SourcePort`];
    this.#destinationPort = AT[`${side}DestinationPort`];
  }

  /** The attribute with its header, as it came: it names the flow in a request. -1 where it is absent. */
  get headerStart(): number {
    const { start } = this.#nest;
    return start < 0 ? -1 : start - NLA_HDRLEN;
  }
  get headerEnd(): number {
    return this.#nest.end;
  }
  /** -1 where it is absent, like the ports. */
  get protocol(): number {
    return FLOW.number(this.#protocol, -1);
  }
  get sourcePort(): number {
    return FLOW.number(this.#sourcePort, -1);
  }
  get destinationPort(): number {
    return FLOW.number(this.#destinationPort, -1);
  }
}

/** One flow's message. What it says holds until the next one is read, by whomever. */
export class FlowView {
  readonly original = new TupleView('original');
  readonly reply = new TupleView('reply');
  readonly id = new Place(AT.id);
  #source: Source | undefined;

  /** Finds what is in the attributes from `start` to `end`. @throws DecodeError where they lie about their lengths */
  read(source: Source, start: number, end: number): this {
    this.#source = source;
    FLOW.read(source, start, end);
    return this;
  }

  get status(): number {
    const at = starts[AT.status]!;
    return at === 0 ? 0 : this.#source!.view.getUint32(at);
  }
  get mark(): number {
    return FLOW.number(AT.mark, 0);
  }
  get zone(): number {
    return FLOW.number(AT.zone, 0);
  }
}
