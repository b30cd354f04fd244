package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
)

// place is the file that says how far records were acknowledged, and which batch is being sent. It has two lines that are
// written in turn, so that one is always whole.
type place struct {
	file  *os.File
	log   uint64 // drawn by lot: tokens of different logs differ
	turn  uint64
	next  uint64 // the position that nothing was acknowledged from
	until uint64 // the end of the batch that may have been sent, 0 where there is none
}

const (
	lineSize   = 48
	lineApart  = 512 // a sector each
	placeMagic = 0x7370_6f6f_6c20_3031
)

func openPlace(path string) (p place, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return p, err
	}
	for i := range int64(2) {
		b := make([]byte, lineSize)
		if _, err := f.ReadAt(b, i*lineApart); err != nil && err != io.EOF {
			return p, errors.Join(err, f.Close())
		}
		if q, ok := readLine(b); ok && q.turn >= p.turn {
			p = q
		}
	}
	p.file = f
	if p.log == 0 { // new, or lost: what is there is delivered, perhaps once more
		p.log = rand.Uint64() | 1
		err = p.save(0, 0, true)
	}
	return p, err
}

func readLine(b []byte) (p place, ok bool) {
	n := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	p = place{log: n(1), turn: n(2), next: n(3), until: n(4)}
	return p, n(0) == placeMagic && n(5) == uint64(crc32.Checksum(b[:40], castagnoli)) && p.log != 0
}

// save notes a new state.
func (p *place) save(next, until uint64, sync bool) error {
	p.turn++
	p.next, p.until = next, until
	b := make([]byte, 0, lineSize)
	for _, n := range []uint64{placeMagic, p.log, p.turn, next, until} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(crc32.Checksum(b, castagnoli)))
	_, err := p.file.WriteAt(b, int64(p.turn%2)*lineApart)
	if err == nil && sync {
		err = p.file.Sync()
	}
	return err
}

func (p *place) close() {
	if p.file != nil {
		_ = p.file.Close()
	}
}
