package wire

import (
	"math"
	"math/big"
	"strings"
	"testing"
)

func TestParseMoney(t *testing.T) {
	for text, want := range map[string]Money{
		"$50":           50 * Dollar,
		"50":            50 * Dollar,
		" $0.25 ":       Dollar / 4,
		"$1k":           1000 * Dollar,
		"$1.5k":         1500 * Dollar,
		"$2M":           2_000_000 * Dollar,
		"$1G":           1_000_000_000 * Dollar,
		"$0.000000001":  1,
		"$0.00000001k":  10_000,
		"$.5":           Dollar / 2,
		"$5.":           5 * Dollar,
		"$0":            0,
		"$9.223372036G": 9_223_372_036 * Dollar,
	} {
		if got, err := ParseMoney(text); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "$", "$$5", "$-5", "-5", "$5 k", "$1e3", "$0x5", "$1/2", "$1.2.3", ".", "$.", "$k", "$0.0000000001", "$9.3G", "$1000000G", "five",
		"$" + strings.Repeat("9", 100), "$0.1kk", "$1_000", "$1,000", "Inf", "NaN"} {
		if got, err := ParseMoney(text); err == nil || got != 0 || !strings.Contains(err.Error(), "no amount of money") {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestParseAmount(t *testing.T) {
	for text, want := range map[string]int64{"200k": 200_000, "1.5M": 1_500_000, "20": 20, "0.5k": 500, "3G": 3_000_000_000, "2K": 2000} {
		if got, err := ParseAmount(text, 1); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"1.5", "0.0005k", "10000000000G"} {
		if got, err := ParseAmount(text, 1); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func TestMoneyAsText(t *testing.T) {
	for m, want := range map[Money]string{
		0: "$0", 1: "$0.000000001", -1: "-$0.000000001", Dollar: "$1", Dollar + Dollar/4: "$1.25", 12_000_500_000: "$12.0005",
		-3 * Dollar: "-$3", 100: "$0.0000001", 999_999_999: "$0.999999999", math.MaxInt64: "$9223372036.854775807",
	} {
		if got := m.String(); got != want {
			t.Errorf("%d: %s, want %s", m, got, want)
		}
	}
	if got := string(Money(1_250_000).AppendDecimal([]byte("cost "))); got != "cost 0.00125" {
		t.Errorf("%q", got)
	}
	if n := testing.AllocsPerRun(100, func() { var space [32]byte; Money(1_234_567_890).AppendDecimal(space[:0]) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// An amount that was written is read as the same, and no text is read as more than it says.
func FuzzMoney(f *testing.F) {
	f.Add(int64(1_250_000_000), "$12.50")
	f.Add(int64(-1), "$1k")
	f.Add(int64(math.MaxInt64), "0.1G")
	f.Add(int64(math.MinInt64), "-.")
	f.Fuzz(func(t *testing.T, n int64, text string) {
		if n >= 0 {
			if got, err := ParseMoney(Money(n).String()); err != nil || got != Money(n) {
				t.Errorf("%d is written as %s and read as %d, %v", n, Money(n), got, err)
			}
		}
		if negative := Money(n).String(); n < 0 && !strings.HasPrefix(negative, "-$") || strings.Count(negative, "-") > 1 {
			t.Errorf("%d: %s", n, negative)
		}
		got, err := ParseMoney(text)
		if err != nil {
			return
		}
		plain := strings.TrimPrefix(strings.TrimSpace(text), "$")
		factor := int64(1)
		for suffix, by := range map[string]int64{"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9} {
			if cut, ok := strings.CutSuffix(plain, suffix); ok {
				plain, factor = cut, by
			}
		}
		want, ok := new(big.Rat).SetString(plain)
		if !ok {
			t.Fatalf("%q is read as %s", text, got)
		}
		want.Mul(want, new(big.Rat).SetInt64(factor)).Mul(want, new(big.Rat).SetInt64(int64(Dollar)))
		if want.Cmp(new(big.Rat).SetInt64(int64(got))) != 0 {
			t.Errorf("%q is read as %d", text, got)
		}
	})
}

func TestMoneyPlus(t *testing.T) {
	for _, c := range [][3]Money{{1, 2, 3}, {0, 0, 0}, {math.MaxInt64, 1, math.MaxInt64}, {1, math.MaxInt64, math.MaxInt64}, {math.MaxInt64 - 1, 1, math.MaxInt64}} {
		if got := c[0].Plus(c[1]); got != c[2] {
			t.Errorf("%d plus %d: %d, want %d", c[0], c[1], got, c[2])
		}
	}
}
