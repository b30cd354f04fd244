package guard

import "strings"

// maxDigits is how far a number is read: the longest card and what may stand in front of a phone's.
const maxDigits = 24

// numeral is a number as people write it: digits, with at most one space, hyphen or dot between two groups of them.
type numeral struct {
	n     int
	digit [maxDigits]byte
	end   [maxDigits]int  // behind each digit
	gap   [maxDigits]byte // what stands before it, 0 for nothing
	text  []byte
}

// read reads the digits from i on. It is false when more may come.
func (d *numeral) read(t []byte, i int, final bool) bool {
	d.n, d.text = 0, t
	gap := byte(0)
	for ; i < len(t) && d.n < maxDigits; i++ {
		switch c := t[i]; {
		case is(c, digit):
			d.digit[d.n], d.end[d.n], d.gap[d.n] = c, i+1, gap
			d.n++
			gap = 0
		case gap == 0 && (c == ' ' || c == '-' || c == '.' || c == '(' || c == ')'):
			gap = c
		case gap == ' ' && c == '(', gap == ')' && (c == ' ' || c == '-'), gap == '-' && c == '(':
			gap = ')'
		default:
			return true
		}
	}
	return final || d.n == maxDigits
}

// ends tells whether the first n digits are a number of their own: none follows them at once.
func (d *numeral) ends(n int) bool {
	switch {
	case n > d.n:
		return false
	case n < d.n:
		return d.gap[n] != 0 && d.gap[n] != '.'
	}
	end := d.end[n-1]
	return end == len(d.text) || !is(d.text[end], wordy)
}

// gapped tells whether every gap among the first n digits is one of seps and stands before one of the given digits.
func (d *numeral) gapped(n int, seps string, at ...int) bool {
	for i := 1; i < n; i++ {
		if d.gap[i] == 0 {
			continue
		}
		ok := false
		for _, a := range at {
			ok = ok || a == i
		}
		if !ok || strings.IndexByte(seps, d.gap[i]) < 0 {
			return false
		}
	}
	return true
}

// solid tells that there are no gaps among the first n digits.
func (d *numeral) solid(n int) bool { return d.gapped(n, "") }

func (d *numeral) has(at int, digits string) bool {
	return at+len(digits) <= d.n && string(d.digit[at:at+len(digits)]) == digits
}

func (d *numeral) value(from, to int) (v int) {
	for _, c := range d.digit[from:to] {
		v = v*10 + int(c-'0')
	}
	return v
}

// findNumber looks for a resident's id, a card or a phone that begins at i.
func (p *personal) findNumber(t []byte, i int, final bool) (match, verdict) {
	from, plus, paren := i, false, false
	switch t[i] {
	case '+':
		plus, from = true, i+1
		if from < len(t) && t[from] == '(' {
			from++
		}
	case '(':
		paren, from = true, i+1
	}
	if from == len(t) && !final {
		return match{}, more
	}
	if from == len(t) || !is(t[from], digit) {
		return match{}, no
	}
	around := before(t, i)
	if around == never {
		return match{}, no
	}
	if !plus && !worthReading(t[from:], paren) {
		return match{}, no
	}
	var d numeral
	if !d.read(t, from, final) {
		return match{}, more
	}
	if p.types&resident != 0 && !plus && !paren {
		if end, v := d.resident(final); v != no {
			return match{start: i, end: end, label: "CN_ID"}, v
		}
	}
	if around == weak {
		return match{}, no
	}
	if p.types&card != 0 && !plus && !paren {
		if n := d.card(); n > 0 {
			return match{start: i, end: d.end[n-1], label: "CARD"}, yes
		}
	}
	if p.types&phone != 0 {
		if n := d.phone(plus, paren); n > 0 {
			return match{start: i, end: d.end[n-1], label: "PHONE"}, yes
		}
	}
	return match{}, no
}

// worthReading tells whether a number that begins like this can be one of those that are looked for: their first digits
// stand together, but for 86 and 1 before a phone's. What is cut off by the end of the text may be.
func worthReading(t []byte, paren bool) bool {
	n := 0
	for n < 3 && n < len(t) && is(t[n], digit) {
		n++
	}
	switch {
	case n == 3 || n == len(t):
		return true
	case paren:
		return false
	case n == 2:
		return t[0] == '8' && t[1] == '6'
	case t[0] != '1':
		return false
	}
	gaps := 0
	for i := 1; i < len(t); i++ { // 1-415-, 1 (415)
		switch {
		case is(t[i], digit):
			if n++; n > 3 {
				return true
			}
		case n > 1 || gaps == 2:
			return false
		default:
			gaps++
		}
	}
	return true
}

// How well a number can begin behind what stands before it.
const (
	never = iota // amid a number
	weak         // behind letters: only what has a check digit and a date
	well
)

func before(t []byte, i int) int {
	if i == 0 {
		return well
	}
	switch c := t[i-1]; {
	case is(c, digit), c == '.' && i > 1 && is(t[i-2], digit), c == '$':
		return never
	case t[i] == '+' && (is(c, wordy) || c == ')' || c == '+'):
		return never
	case is(c, letter):
		return labelled(t[:i])
	}
	return well
}

// labelled tells numbers behind a word that announces them, as in tel13800138000, from parts of names and digests.
func labelled(t []byte) int {
	i := len(t)
	var word [12]byte
	n := len(word)
	for i > 0 && n > 0 && is(t[i-1], letter) {
		i--
		n--
		word[n] = t[i] | 0x20
	}
	switch string(word[n:]) {
	case "tel", "telephone", "phone", "mobile", "mob", "cell", "call", "sms", "fax", "id", "card", "no", "num", "number", "whatsapp", "wechat", "qq", "contact", "at", "to":
		return well
	}
	return weak
}

// resident reads a Chinese resident's id (GB 11643): region, date of birth, serial number, check digit.
func (d *numeral) resident(final bool) (end int, v verdict) {
	if d.n < 17 || !d.gapped(17, " -", 6, 10, 12, 14) || !dated(d) || !region(d.value(0, 2)) {
		return 0, no
	}
	sum := 0
	for i, w := range [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += int(d.digit[i]-'0') * w
	}
	check := "10X98765432"[sum%11]
	if check != 'X' {
		if d.n < 18 || d.digit[17] != check || d.gap[17] != 0 {
			return 0, no
		}
		if end = d.end[17]; end < len(d.text) && is(d.text[end], digit) {
			return 0, no
		}
		return end, yes
	}
	end = d.end[16]
	switch {
	case d.n > 17 && d.gap[17] == 0:
		return 0, no
	case end == len(d.text) && !final:
		return 0, more
	case end == len(d.text) || d.text[end]|0x20 != 'x':
		return 0, no
	case end+1 == len(d.text) && !final:
		return 0, more
	case end+1 < len(d.text) && is(d.text[end+1], wordy):
		return 0, no
	}
	return end + 1, yes
}

func dated(d *numeral) bool {
	year, month, day := d.value(6, 10), d.value(10, 12), d.value(12, 14)
	if year < 1900 || year > 2099 || month < 1 || month > 12 || day < 1 {
		return false
	}
	days := [...]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month-1]
	if month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		days = 29
	}
	return day <= days
}

// region tells the codes of provinces (GB/T 2260), and those of residents of Taiwan, Hong Kong, Macao and foreigners.
func region(code int) bool {
	switch code / 10 {
	case 1:
		return code <= 15 && code > 10
	case 2:
		return code <= 23 && code > 20
	case 3:
		return code <= 37 && code > 30
	case 4:
		return code <= 46 && code > 40
	case 5:
		return code <= 54 && code >= 50
	case 6:
		return code <= 65 && code > 60
	}
	return code == 71 || code >= 81 && code <= 83 || code == 91
}

// card is how many digits a bank card's number has that begins here, 0 for none: the longest that is one.
func (d *numeral) card() int {
	for n := min(d.n, 19); n >= 13; n-- {
		if d.ends(n) && issued(d, n) && d.grouped(n) && d.luhn(n) {
			return n
		}
	}
	return 0
}

// grouped tells whether the gaps are where cards have them.
func (d *numeral) grouped(n int) bool {
	const seps = " -"
	return d.solid(n) || d.gapped(n, seps, 4, 8, 12, 16) && d.gap[4] != 0 || n <= 15 && d.gapped(n, seps, 4, 10) && d.gap[4] != 0 || d.gapped(n, seps, 6) && n >= 16
}

// luhn is the check of ISO/IEC 7812. A number of one digit alone passes too, and is none.
func (d *numeral) luhn(n int) bool {
	sum, same := 0, true
	for i := range n {
		v := int(d.digit[n-1-i] - '0')
		if same = same && d.digit[i] == d.digit[0]; i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0 && !same
}

// issued tells whether somebody issues cards of n digits that begin like this.
func issued(d *numeral, n int) bool {
	two, four := d.value(0, 2), d.value(0, 4)
	switch {
	case d.digit[0] == '4': // Visa, and the older cards of Chinese banks
		return n == 13 || n == 16 || n == 19
	case two >= 51 && two <= 55, four >= 2221 && four <= 2720: // Mastercard
		return n == 16
	case two == 34 || two == 37: // American Express
		return n == 15
	case two == 62, two == 81, four == 9558, four == 6013: // UnionPay, ICBC, Bank of China
		return n >= 16
	case four == 6011, two == 65, four/10 >= 644 && four/10 <= 649: // Discover
		return n >= 16
	case four >= 3528 && four <= 3589: // JCB
		return n >= 16
	case two == 36 || two == 38 || two == 39, four/10 >= 300 && four/10 <= 305: // Diners
		return n == 14 || n == 16
	case four == 5018, four == 5020, four == 5038, four == 5893, four == 6304, four == 6759, four >= 6761 && four <= 6763: // Maestro
		return n >= 16
	case four >= 2200 && four <= 2204: // Mir
		return n >= 16
	}
	return false
}
