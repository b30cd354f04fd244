package fakellm

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A frame of application/vnd.amazon.eventstream is a prelude (its length, the length of its header, their CRC), the header, the
// payload, and a CRC of all before. Numbers are big-endian.

const (
	eventStreamType = "application/vnd.amazon.eventstream"
	preludeSize     = 12
	crcSize         = 4
	stringValue     = 7 // the type of a header's value
)

// openFrame begins a frame whose header has the three fields that AWS sends; the payload is appended next. kind is "event" or
// "exception", name which of them.
func openFrame(dst []byte, kind, name string) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, preludeSize)...)
	dst = frameField(dst, ":"+kind+"-type", name)
	dst = frameField(dst, ":content-type", jsonType)
	dst = frameField(dst, ":message-type", kind)
	binary.BigEndian.PutUint32(dst[at+4:], uint32(len(dst)-at-preludeSize))
	return dst
}

func frameField(dst []byte, name, value string) []byte {
	dst = append(append(dst, byte(len(name))), name...)
	dst = binary.BigEndian.AppendUint16(append(dst, stringValue), uint16(len(value)))
	return append(dst, value...)
}

// closeFrame ends the frame that began at dst[at].
func closeFrame(dst []byte, at int) []byte {
	f := dst[at:]
	binary.BigEndian.PutUint32(f, uint32(len(f)+crcSize))
	binary.BigEndian.PutUint32(f[8:], crc32.ChecksumIEEE(f[:8]))
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(f))
}

func appendFrame(dst []byte, kind, name string, payload []byte) []byte {
	at := len(dst)
	return closeFrame(append(openFrame(dst, kind, name), payload...), at)
}

// spoilFrame makes one of the frame's checksums wrong. With a wrong prelude the one at the end is right, so that only who checks
// both notices.
func spoilFrame(fault Fault, f []byte) {
	if len(f) < preludeSize+crcSize {
		return
	}
	end := len(f) - crcSize
	if fault == BadCRC {
		f[end] ^= 0x55
		return
	}
	f[8] ^= 0x55
	binary.BigEndian.PutUint32(f[end:], crc32.ChecksumIEEE(f[:end]))
}

// splitFrames cuts a recorded stream into its frames; what is no frame comes last, as it is.
func splitFrames(raw []byte) [][]byte {
	var all [][]byte
	for len(raw) > 0 {
		n, err := frameLength(raw)
		if err != nil {
			n = len(raw)
		}
		all = append(all, raw[:n])
		raw = raw[n:]
	}
	return all
}

var errNoFrame = errors.New("not an event stream frame")

func frameLength(raw []byte) (int, error) {
	if len(raw) < preludeSize+crcSize {
		return 0, errNoFrame
	}
	n, header := int(binary.BigEndian.Uint32(raw)), int(binary.BigEndian.Uint32(raw[4:]))
	if n > len(raw) || header > n-preludeSize-crcSize || crc32.ChecksumIEEE(raw[:8]) != binary.BigEndian.Uint32(raw[8:]) {
		return 0, errNoFrame
	}
	if crc32.ChecksumIEEE(raw[:n-crcSize]) != binary.BigEndian.Uint32(raw[n-crcSize:n]) {
		return 0, errNoFrame
	}
	return n, nil
}

// framePayload is the payload of a whole frame.
func framePayload(f []byte) []byte {
	if _, err := frameLength(f); err != nil {
		return nil
	}
	return f[preludeSize+int(binary.BigEndian.Uint32(f[4:])) : len(f)-crcSize]
}

// unframed is the payloads of a recorded stream of frames, one a line; what is no such stream stays as it is.
func unframed(raw []byte) []byte {
	if _, err := frameLength(raw); err != nil {
		return raw
	}
	var lines []byte
	for _, f := range splitFrames(raw) {
		lines = append(append(lines, framePayload(f)...), '\n')
	}
	return lines
}
