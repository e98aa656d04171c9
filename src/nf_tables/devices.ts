import { eachAttribute, type Type, text } from '../codec/index.ts';
import { typeError, within } from '../errors.ts';
import * as C from '../linux/nf_tables.ts';

const NAME = text(15);

/**
 * The devices of a hook. A name that ends in '*' means every device whose name begins so (Linux 6.17); a name that really ends in an
 * asterisk is written `\*`, as nft has it.
 */
export const DEVICES: Type<string[]> = {
  kind: 'list',
  write(writer, devices, context) {
    if (!Array.isArray(devices)) throw typeError([], 'an array of device names', devices);
    for (const [i, device] of devices.entries()) {
      const prefix = typeof device === 'string' && device.endsWith('*') && !device.endsWith('\\*');
      const literal = typeof device === 'string' && device.endsWith('\\*');
      const name = prefix ? device.slice(0, -1) : literal ? `${device.slice(0, -2)}*` : device;
      try {
        const start = writer.beginAttribute(prefix ? C.NFTA_DEVICE_PREFIX : C.NFTA_DEVICE_NAME);
        NAME.write(writer, name, context);
        writer.endAttribute(start);
      } catch (error) {
        throw within(error, [i]);
      }
    }
  },
  read(source, start, end, context) {
    const devices: string[] = [];
    let whole = true;
    eachAttribute(source, start, end, (type, payload, payloadEnd) => {
      const name = NAME.read(source, payload, payloadEnd, context);
      if (name === undefined) whole = false;
      else if (type === C.NFTA_DEVICE_PREFIX && !name.endsWith('\\')) devices.push(`${name}*`);
      else if (type === C.NFTA_DEVICE_NAME) devices.push(name.endsWith('*') ? `${name.slice(0, -1)}\\*` : name);
      else whole = false;
    });
    return whole ? devices : undefined;
  },
  locate(source, start, end, offset) {
    let index = 0;
    let found = -1;
    eachAttribute(source, start, end, (_type, _payload, payloadEnd) => {
      if (found < 0 && offset < payloadEnd) found = index;
      index++;
    });
    return found < 0 ? [] : [found];
  },
};
