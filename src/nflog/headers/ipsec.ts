import type { Line } from './line.ts';

function index(line: Line, at: number, offset: number): void {
  if (line.complete(at, offset + 8)) line.add(`SPI=0x${line.u32(at + offset).toString(16)} `);
}

/** AH (RFC 4302). Behind IPv6 it is an extension header. Of a later fragment the kernel prints nothing. */
export const ah = {
  summarize(line: Line, at: number, fragment: boolean): boolean {
    if (fragment) return true;
    line.add('PROTO=AH ');
    index(line, at, 4);
    return true;
  },
};

/** ESP (RFC 4303). */
export const esp = {
  summarize(line: Line, at: number, fragment: boolean): boolean {
    line.add('PROTO=ESP ');
    if (!fragment) index(line, at, 0);
    return true;
  },
};
