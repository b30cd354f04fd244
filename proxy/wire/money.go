package wire

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Money is an amount in nano-dollars, $0.000000001. An int64 of them holds nine billion dollars.
type Money int64

// Dollar is one.
const Dollar Money = 1_000_000_000

// Plus adds amounts that are not negative. What no Money can hold is the most that it can.
func (m Money) Plus(more Money) Money {
	if more > math.MaxInt64-m {
		return math.MaxInt64
	}
	return m + more
}

// ParseMoney reads $12.50, $1k or $2M. It is exact: what is finer than a nano-dollar is refused.
func ParseMoney(s string) (Money, error) {
	n, err := ParseAmount(strings.TrimPrefix(strings.TrimSpace(s), "$"), int64(Dollar))
	if err != nil {
		return 0, fmt.Errorf("%q is no amount of money (expected one like $50, $0.25 or $1k)", s)
	}
	return Money(n), nil
}

// ParseAmount reads a decimal number, which may end in k, M or G, in units of 1/scale. It must come out even.
func ParseAmount(s string, scale int64) (int64, error) {
	number, factor := s, int64(1)
	for suffix, f := range map[string]int64{"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9} {
		if cut, ok := strings.CutSuffix(s, suffix); ok {
			number, factor = cut, f
		}
	}
	if number == "" || strings.Trim(number, "0123456789.") != "" || len(number) > 40 {
		return 0, strconv.ErrSyntax
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, strconv.ErrSyntax
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Mul(big.NewInt(factor), big.NewInt(scale))))
	if !r.IsInt() || !r.Num().IsInt64() {
		return 0, strconv.ErrRange
	}
	return r.Num().Int64(), nil
}

// AppendDecimal appends the amount in dollars, as short as is exact: 0.00125.
func (m Money) AppendDecimal(dst []byte) []byte {
	if m < 0 {
		dst = append(dst, '-')
	}
	return m.appendSize(dst)
}

// appendSize is AppendDecimal without the sign.
func (m Money) appendSize(dst []byte) []byte {
	size := uint64(m) //nolint:gosec // the lowest amount has no positive counterpart
	if m < 0 {
		size = -size
	}
	dst = strconv.AppendUint(dst, size/uint64(Dollar), 10)
	rest := size % uint64(Dollar)
	if rest == 0 {
		return dst
	}
	var digits [9]byte
	last := 0
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + rest%10)
		if rest /= 10; digits[i] != '0' && last == 0 {
			last = i + 1
		}
	}
	return append(append(dst, '.'), digits[:last]...)
}

// String is the amount as people write it: $1.25.
func (m Money) String() string {
	if m < 0 {
		return "-$" + string(m.appendSize(nil))
	}
	return "$" + string(m.appendSize(nil))
}
