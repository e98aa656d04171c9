import { closedError } from './lifetime.ts';
import type { Transport } from './transport.ts';

/** The transport of a handle that is closed before it was opened: nothing was, and every use says so. */
export class ClosedTransport implements Transport {
  readonly netnsInode: number;
  readonly closed = true;

  constructor(netnsInode: number) {
    this.netnsInode = netnsInode;
  }

  send(): number {
    throw closedError();
  }
  async sendOffThread(): Promise<number> {
    throw closedError();
  }
  receive(): number {
    throw closedError();
  }
  async receiveOffThread(): Promise<number> {
    throw closedError();
  }
  reserve(): number {
    throw closedError();
  }
  async close(): Promise<void> {}
}
