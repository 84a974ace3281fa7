package detcbor

import "encoding/binary"

// AppendHead appends an item's initial byte and its argument, in shortest form: the
// counterpart of Reader.Head. What follows, and the order of a map's keys, is the
// caller's.
func AppendHead(b []byte, major Major, n uint64) []byte {
	switch m := byte(major) << 5; {
	case n < 24:
		return append(b, m|byte(n))
	case n < 1<<8:
		return append(b, m|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, m|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, m|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, m|27), n)
	}
}

// AppendInt appends an integer.
func AppendInt(b []byte, n int64) []byte {
	if n < 0 {
		return AppendHead(b, Nint, uint64(-1-n))
	}
	return AppendHead(b, Uint, uint64(n))
}

// AppendBytes appends a byte string.
func AppendBytes(b, s []byte) []byte {
	return append(AppendHead(b, Bytes, uint64(len(s))), s...)
}

// AppendText appends a text string; that s is UTF-8 is for the caller to know.
func AppendText(b []byte, s string) []byte {
	return append(AppendHead(b, Text, uint64(len(s))), s...)
}
