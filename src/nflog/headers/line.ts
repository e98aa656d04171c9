import { toHex } from '../../codec/index.ts';
import { ETH_ALEN } from '../../linux/if_ether.ts';
import type { Redactor } from '../address.ts';

/** Text about captured bytes: each header adds what it says, as far as it was captured. */
export class Line {
  text = '';
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** What the kernel knows about the packet besides its bytes, as text. */
  readonly properties: string;
  readonly #show: Redactor;

  constructor(bytes: Uint8Array, properties: string, show: Redactor) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.properties = properties;
    this.#show = show;
  }

  add(text: string): void {
    this.text += text;
  }

  /** Were that many bytes captured from there on? */
  has(at: number, length: number): boolean {
    return at + length <= this.bytes.length;
  }

  /** As `has`, and says so if they were not. */
  complete(at: number, length: number): boolean {
    if (this.has(at, length)) return true;
    this.add(`INCOMPLETE [${Math.max(0, this.bytes.length - at)} bytes] `);
    return false;
  }

  u8(at: number): number {
    return this.view.getUint8(at);
  }
  u16(at: number): number {
    return this.view.getUint16(at);
  }
  u32(at: number): number {
    return this.view.getUint32(at);
  }

  ipv4(at: number): string {
    return this.#show.ipv4(this.bytes, at);
  }
  /** All eight groups with their zeros, as the kernel prints them. */
  ipv6(at: number): string {
    return this.#show.ipv6(this.bytes, at, longIPv6);
  }
  hardware(at: number): string {
    return this.#show.hardware(this.bytes, at, at + ETH_ALEN);
  }
}

function longIPv6(bytes: Uint8Array, at: number): string {
  return toHex(bytes, at, at + 16).replace(/....(?=.)/g, '$&:');
}

/** Adds the text of the packet inside an ICMP error. */
export type Inner = (line: Line, at: number) => void;

export const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
