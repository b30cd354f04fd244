package guard

import (
	"unicode"
	"unicode/utf8"
)

// look is how far look-alikes in a text are made plain.
type look uint8

const (
	asIs   look = iota
	plain       // full-width forms, digits of other scripts and the like; what nobody sees is gone
	folded      // and letters of other alphabets that look like Latin ones
)

// rune is what a character becomes.
func (l look) rune(r rune) rune {
	switch l {
	case plain:
		return plainRune(r)
	case folded:
		return foldRune(r)
	}
	return r
}

// differs tells whether a text becomes another.
func (l look) differs(t []byte) bool {
	for i := plainEnd(t, 0); i < len(t); i = plainEnd(t, i) {
		r, n := utf8.DecodeRune(t[i:])
		if l.rune(r) != r {
			return true
		}
		i += n
	}
	return false
}

// gone is what a character becomes that nobody sees.
const gone rune = -1

// plainRune makes a character that looks like an ASCII one into that: full-width forms, digits of other scripts, letters
// and digits of mathematics, dashes and spaces. Characters that nobody sees are gone.
func plainRune(r rune) rune {
	switch {
	case r < 0xa0, r > 0x3000 && r < 0xa620 && r != 0x3164:
		return r // ASCII, and nearly all of Chinese and Japanese
	case r >= 0xff01 && r <= 0xff5e:
		return r - 0xfee0
	case unseen(r):
		return gone
	case r == 0xa0, r == 0x1680, r >= 0x2000 && r <= 0x200a, r == 0x202f, r == 0x205f, r == 0x3000:
		return ' '
	case r == 0x2028, r == 0x2029:
		return '\n'
	case r >= 0x2010 && r <= 0x2015, r == 0x2212, r == 0xfe58, r == 0xfe63:
		return '-'
	case r == 0xfe52:
		return '.'
	case r == 0xfe6b:
		return '@'
	case r >= 0x1d400 && r <= 0x1d6a3:
		return mathLetter(r - 0x1d400)
	case r >= 0x1d7ce && r <= 0x1d7ff:
		return '0' + (r-0x1d7ce)%10
	case r >= 0x660:
		return digitOf(r)
	}
	return r
}

// unseen are characters of no width: joiners, marks of direction, soft hyphens, fillers, variation selectors, tags.
func unseen(r rune) bool {
	switch {
	case r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f, r >= 0xfe00 && r <= 0xfe0f,
		r >= 0x180b && r <= 0x180f, r >= 0xe0000 && r <= 0xe01ef:
		return true
	}
	switch r {
	case 0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x3164, 0xfeff, 0xffa0:
		return true
	}
	return false
}

// mathLetter reads the alphabets of mathematics, each A to Z and a to z.
func mathLetter(n rune) rune {
	if n %= 52; n < 26 {
		return 'A' + n
	}
	return 'a' + n - 26
}

// digitOf reads a decimal digit of any script: Unicode keeps each script's ten in order.
func digitOf(r rune) rune {
	if !unicode.Is(unicode.Nd, r) {
		return r
	}
	for _, s := range unicode.Nd.R16 {
		if r >= rune(s.Lo) && r <= rune(s.Hi) {
			return '0' + (r-rune(s.Lo))%10
		}
	}
	for _, s := range unicode.Nd.R32 {
		if r >= rune(s.Lo) && r <= rune(s.Hi) {
			return '0' + (r-rune(s.Lo))%10
		}
	}
	return r
}

// twins are letters that look like one of ASCII, each with that one behind it: of Cyrillic, Greek, and what else there is
// in print. Those of whole words in their own language are made plain too; what becomes of them means nothing.
const twins = "АAаaВBЕEеeЁEёeЅSѕsІIіiЇIїiЈJјjКKкkМMмmНHОOоoРPрpСCсcТTтtУYуyХXхxҮYүyҺHһhԀDԁdԌGԛqԚQԜWԝwӀIӏlҐrгrпnшw" +
	"ΑAαaΒBβBΕEεeΖZΗHηnΙIιiΚKκkΜMΝNνvΟOοoόoΡPρpΤTτtΥYυuΧXχxωwϲcϳjγyάaέeίiϊi" +
	"ıiɑaɡgɩiɪiʀrɢgɴnʟlʙbʜhᴀaᴄcᴅdᴇeᴊjᴋkᴍmᴏoᴘpꜱsᴛtᴜuᴠvᴡwʏyᴢzℂCℊgℋHℌHℍHℎhℐIℑIℒLℓlℕNℙPℚQℛRℜRℝRℤZℨZKKℬBℭCℯeℰEℱFℳMℴoⅠIⅤVⅩXⅬLⅭCⅮDⅯMⅰiⅴvⅹxⅼlⅽcⅾdⅿm"

var twin = func() map[rune]rune {
	all := map[rune]rune{}
	for s := twins; s != ""; {
		r, n := utf8.DecodeRuneInString(s)
		all[r] = rune(s[n])
		s = s[n+1:]
	}
	return all
}()

// foldRune makes plain what plainRune does, and letters that look like Latin ones.
func foldRune(r rune) rune {
	if r < 0x131 || r > 0x3000 && r < 0xa620 {
		return plainRune(r)
	}
	if t, ok := twin[r]; ok {
		return t
	}
	switch {
	case r >= 0x24b6 && r <= 0x24cf:
		return r - 0x24b6 + 'A'
	case r >= 0x24d0 && r <= 0x24e9:
		return r - 0x24d0 + 'a'
	case r >= 0x1f130 && r <= 0x1f149:
		return r - 0x1f130 + 'A'
	}
	return plainRune(r)
}
