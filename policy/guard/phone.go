package guard

// phone is how many digits a phone's number has that begins here, 0 for none. plus and paren stood before its first digit.
func (d *numeral) phone(plus, paren bool) int {
	if plus {
		return d.international()
	}
	for _, prefix := range []string{"0086", "86"} { // as people dial +86
		if k := len(prefix); !paren && d.has(0, prefix) && d.n > k && (k == 4 || d.gap[k] != 0 || d.ends(k+11)) && d.mobile(k) && d.ends(k+11) {
			return k + 11
		}
	}
	switch {
	case !paren && d.mobile(0) && d.ends(11):
		return 11
	case d.has(0, "0"):
		return d.landline(paren)
	}
	return d.american(paren)
}

// mobile tells a Chinese mobile number whose first digit is at k, written in one or as 138 0013 8000.
func (d *numeral) mobile(k int) bool {
	if d.n < k+11 || d.digit[k] != '1' {
		return false
	}
	for i := k + 1; i < k+11; i++ {
		if g := d.gap[i]; g != 0 && (g != ' ' && g != '-' || i != k+3 && i != k+7) {
			return false
		}
	}
	third := d.digit[k+2]
	switch d.digit[k+1] {
	case '3', '8':
		return true
	case '4':
		return third >= '5'
	case '5', '9':
		return third != '4'
	case '6':
		return third == '2' || third >= '5' && third <= '7'
	case '7':
		return third <= '8'
	}
	return false
}

// landline reads a Chinese number with its area code: 010-88886666, (0755) 8888 6666, 0571 87654321. Without anything
// between the two, the local number must begin as real ones do.
func (d *numeral) landline(paren bool) int {
	if d.n < 10 || d.digit[1] == '0' {
		return 0
	}
	area := 4
	if d.digit[1] <= '2' {
		area = 3 // 010, 02x
	}
	if area == 3 && d.digit[1] == '1' && d.digit[2] != '0' {
		return 0
	}
	gap := d.gap[area]
	if paren && gap != ')' || !paren && (gap == '.' || gap == '(') || !d.solid(area) {
		return 0
	}
	if first := d.digit[area]; first < '1' || gap == 0 && (first < '2' || first > '8') {
		return 0
	}
	for n := area + 8; n >= area+7; n-- {
		if n == 10 || !d.ends(n) {
			continue // three digits of area go with eight
		}
		if half := n - 4; d.locally(area, half, n) {
			return n
		}
	}
	return 0
}

// locally tells whether a local number has at most one gap, before its last four digits.
func (d *numeral) locally(area, half, n int) bool {
	for i := area + 1; i < n; i++ {
		if g := d.gap[i]; g != 0 && (i != half || g != ' ' && g != '-') {
			return false
		}
	}
	return true
}

// american reads numbers of North America without their country code: 415-555-2671, (415) 555-2671, 1-415-555-2671. Only
// ones with their usual gaps are told from other numbers.
func (d *numeral) american(paren bool) int {
	k := 0
	if d.has(0, "1") && d.n > 1 && d.gap[1] != 0 && !paren {
		k = 1
	}
	n := k + 10
	if d.n < n || !d.ends(n) || d.digit[k] < '1' || k == 1 && d.digit[k] < '2' {
		return 0
	}
	for i := 1; i < n; i++ {
		if g := d.gap[i]; (g != 0) != (i == k && k > 0 || i == k+3 || i == k+6) {
			return 0
		}
	}
	first, second := d.gap[k+3], d.gap[k+6]
	switch {
	case paren || k == 1 && first == ')':
		if first == ')' && second != '(' && second != ')' {
			return n
		}
	case first == second && (first == '-' || first == '.'):
		return n
	}
	return 0
}

// international reads a number behind a plus (E.164): up to 15 digits, a country code first.
func (d *numeral) international() int {
	const least, most = 9, 15
	code := countryCode(d)
	if code == 0 {
		return 0
	}
	if d.has(0, "86") {
		return d.chinese()
	}
	if code == 1 && d.digit[0] == '1' {
		if d.endsLoosely(11) && d.digit[1] >= '2' {
			return 11
		}
		return 0
	}
	best := 0
	for n := least; n <= min(d.n, most); n++ {
		if d.endsLoosely(n) {
			if best = n; n >= code+9 {
				break // long enough: another group is another number
			}
		}
	}
	return best
}

// endsLoosely is ends for numbers whose groups may have dots between them.
func (d *numeral) endsLoosely(n int) bool { return n < d.n && d.gap[n] != 0 || n == d.n && d.ends(n) }

// chinese reads what follows +86: a mobile number, or one with its area code, with 0 or without.
func (d *numeral) chinese() int {
	if d.mobile(2) && d.ends(13) {
		return 13
	}
	for n := min(d.n, 14); n >= 11; n-- {
		if d.ends(n) && d.digit[2] != '1' || d.ends(n) && d.has(2, "10") {
			return n
		}
	}
	return 0
}

// countryCode is the length of the country code that the digits begin with, 0 when no country has it.
func countryCode(d *numeral) int {
	if d.n < 3 {
		return 0
	}
	switch two := d.value(0, 2); {
	case d.digit[0] == '1' || d.digit[0] == '7':
		return 1
	case d.digit[0] == '0':
		return 0
	case two == 20, two == 27, two >= 30 && two <= 34, two == 36, two == 39, two == 40, two == 41, two >= 43 && two <= 49, two >= 51 && two <= 58,
		two >= 60 && two <= 66, two == 81, two == 82, two == 84, two == 86, two >= 90 && two <= 95, two == 98:
		return 2
	case two >= 21 && two <= 26, two == 29, two == 35, two == 37, two == 38, two == 42, two == 50, two == 59, two >= 67 && two <= 69,
		two == 80, two == 85, two == 87, two == 88, two == 96, two == 97, two == 99:
		return 3
	}
	return 0
}
