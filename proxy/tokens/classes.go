package tokens

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// What the patterns tell apart in a character. Each character is of one class.
const (
	upper   = 1 << iota // Lu, Lt
	lower               // Ll
	letter              // Lm, Lo: goes with both cases
	mark                // M
	number              // N
	space               // white space, save
	newline             // CR and LF
	other

	letters = upper | lower | letter
)

const (
	pageBits = 8
	pageSize = 1 << pageBits
)

// classTable tells the class of every character: a page per 256 of them. Most pages are all of one class and shared.
type classTable struct {
	ascii [utf8.RuneSelf]uint8
	page  [(unicode.MaxRune + 1) >> pageBits]uint8 // which of pages
	pages [][pageSize]uint8
}

// characters is made when first needed: some 60 KiB.
var characters = sync.OnceValue(newClassTable)

func newClassTable() *classTable {
	t := &classTable{pages: make([][pageSize]uint8, 1, 256)}
	for i := range t.pages[0] {
		t.pages[0][i] = other
	}
	whole := map[uint8]uint8{other: 0} // the page that is all of a class
	for _, of := range []struct {
		class uint8
		table *unicode.RangeTable
	}{
		{upper, unicode.Lu}, {upper, unicode.Lt}, {lower, unicode.Ll}, {letter, unicode.Lm}, {letter, unicode.Lo},
		{mark, unicode.M}, {number, unicode.N}, {space, unicode.White_Space},
	} {
		for _, r := range of.table.R16 {
			t.fill(of.class, rune(r.Lo), rune(r.Hi), rune(r.Stride), whole)
		}
		for _, r := range of.table.R32 {
			t.fill(of.class, rune(r.Lo), rune(r.Hi), rune(r.Stride), whole)
		}
	}
	t.fill(newline, '\n', '\r', '\r'-'\n', whole)
	copy(t.ascii[:], t.pages[t.page[0]][:])
	return t
}

func (t *classTable) fill(class uint8, low, high, stride rune, whole map[uint8]uint8) {
	for r := low; r <= high; r += stride {
		if stride == 1 && r%pageSize == 0 && r+pageSize-1 <= high {
			if _, ok := whole[class]; !ok {
				whole[class] = t.add(class)
			}
			t.page[r>>pageBits] = whole[class]
			r += pageSize - 1
			continue
		}
		if t.page[r>>pageBits] == 0 {
			t.page[r>>pageBits] = t.add(other)
		}
		t.pages[t.page[r>>pageBits]][r%pageSize] = class
	}
}

// add makes a page that is all of a class.
func (t *classTable) add(class uint8) uint8 {
	if len(t.pages) == 256 {
		panic("BUG: more kinds of pages of Unicode than a byte can tell")
	}
	var page [pageSize]uint8
	for i := range page {
		page[i] = class
	}
	t.pages = append(t.pages, page)
	return uint8(len(t.pages) - 1)
}

// at is the class of the character at i, and its length. Bytes that are no UTF-8 are of the class other.
func (t *classTable) at(s []byte, i int) (class uint8, size int) {
	if c := s[i]; c < utf8.RuneSelf {
		return t.ascii[c], 1
	}
	return t.wide(s[i:])
}

// wide is at for characters beyond ASCII.
func (t *classTable) wide(s []byte) (class uint8, size int) {
	if len(s) >= 3 && s[0] > 0xe0 && s[0] < 0xf0 && s[0] != 0xed && s[1]&0xc0 == 0x80 && s[2]&0xc0 == 0x80 {
		high := uint(s[0]&0x0f)<<4 | uint(s[1]&0x3f)>>2
		return t.pages[t.page[high]][s[1]<<6|s[2]&0x3f], 3
	}
	r, size := utf8.DecodeRune(s)
	return t.pages[t.page[r>>pageBits]][r%pageSize], size
}
