/** What TCP, UDP, SCTP and DCCP begin with. */
export interface PortFields {
  sourcePort?: number;
  destinationPort?: number;
}

export function readPorts(fields: PortFields, view: DataView, at: number, left: number): void {
  if (left < 4) return;
  fields.sourcePort = view.getUint16(at);
  fields.destinationPort = view.getUint16(at + 2);
}
