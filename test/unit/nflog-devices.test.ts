import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type DeviceSocket, Devices } from '../../src/nflog/devices.ts';

/** Knows names, and counts how often it is asked. */
class FakeSocket implements DeviceSocket {
  readonly netnsInode = 1;
  readonly names = new Map([
    [1, 'lo'],
    [2, 'eth0'],
  ]);
  closed = false;
  asked = 0;

  deviceName(index: number): string | undefined {
    this.asked++;
    return this.names.get(index);
  }
  send = () => 0;
  sendOffThread = async () => 0;
  receive = () => -11;
  receiveOffThread = async () => -11;
  reserve = () => 1 << 20;
  async close() {
    this.closed = true;
  }
}

describe('device names', () => {
  const begin = Date.now();
  const at = (milliseconds: number) => (begin + milliseconds) * 1000;
  /** The time that it is, in milliseconds from the beginning. */
  const setTime = (milliseconds: number) => {
    vi.spyOn(Date, 'now').mockReturnValue(begin + milliseconds);
    vi.spyOn(performance, 'now').mockReturnValue(begin + milliseconds - performance.timeOrigin);
  };
  beforeEach(() => setTime(0));
  afterEach(() => vi.restoreAllMocks());

  it('are read once for all packets that were received before', () => {
    const socket = new FakeSocket();
    const devices = new Devices(socket);
    setTime(5);
    for (let i = 0; i < 4; i++) expect(devices.nameOf(1, at(i))).toBe('lo');
    expect(devices.nameOf(2, at(1))).toBe('eth0');
    expect(socket.asked).toBe(2);
  });

  it('are read again for a packet that was received after, and for no older one', () => {
    const socket = new FakeSocket();
    const devices = new Devices(socket);
    setTime(5);
    expect(devices.nameOf(2, at(1))).toBe('eth0');
    socket.names.set(2, 'renamed');
    expect(devices.nameOf(2, at(2))).toBe('eth0');
    setTime(11);
    expect(devices.nameOf(2, at(10))).toBe('renamed');
    expect(devices.nameOf(2, at(1))).toBe('renamed');
    expect(socket.asked).toBe(2);
  });

  it('are the last ones of a device that is gone, and of a closed log', () => {
    const socket = new FakeSocket();
    const devices = new Devices(socket);
    setTime(1);
    expect(devices.nameOf(2, at(0))).toBe('eth0');
    socket.names.clear();
    setTime(11);
    expect(devices.nameOf(2, at(10))).toBe('eth0');
    expect(devices.nameOf(3, at(10))).toBeUndefined();
    devices.close();
    setTime(21);
    expect(devices.nameOf(2, at(20))).toBe('eth0');
    expect(devices.nameOf(1, at(20))).toBeUndefined();
    expect(socket.asked).toBe(3);
  });

  it('take bounded room', () => {
    const socket = new FakeSocket();
    const devices = new Devices(socket);
    setTime(1);
    for (let i = 10; i < 20_000; i++) devices.nameOf(i, at(0));
    expect(devices.nameOf(1, at(0))).toBe('lo');
    const { asked } = socket;
    // It was made room for others.
    devices.nameOf(10, at(0));
    expect(socket.asked).toBe(asked + 1);
  });
});
