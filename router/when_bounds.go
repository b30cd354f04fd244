package router

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bounds are from where to where a number fits.
type bounds struct {
	text     string
	from, to float64 // both of them fit
}

func (b bounds) contain(v float64) bool { return v >= b.from && v <= b.to }

// IsZero tells those that are left open.
func (b bounds) IsZero() bool { return b.text == "" }

// MarshalText writes them as they are read.
func (b bounds) MarshalText() ([]byte, error) { return []byte(b.text), nil }

// parse reads >8000, >=8000, <8000, <=8000 or 1000..8000.
func (b *bounds) parse(text string, number func(string) (float64, bool)) (ok bool) {
	text = strings.TrimSpace(text)
	*b = bounds{text, math.Inf(-1), math.Inf(1)}
	if from, to, both := strings.Cut(text, ".."); both {
		var ok1, ok2 bool
		b.from, ok1 = number(strings.TrimSpace(from))
		b.to, ok2 = number(strings.TrimSpace(to))
		return ok1 && ok2 && b.from <= b.to
	}
	for _, sign := range [...]string{">=", "<=", ">", "<"} {
		rest, found := strings.CutPrefix(text, sign)
		if !found {
			continue
		}
		v, ok := number(strings.TrimSpace(rest))
		switch sign {
		case ">=":
			b.from = v
		case "<=":
			b.to = v
		case ">":
			b.from = math.Nextafter(v, math.Inf(1))
		case "<":
			b.to = math.Nextafter(v, math.Inf(-1))
		}
		return ok
	}
	return false
}

// Count is from how many to how many, written as >8000 or 1k..8k.
type Count struct{ bounds }

// UnmarshalText reads it.
func (c *Count) UnmarshalText(text []byte) error {
	if !c.parse(string(text), count1k) {
		return errors.New("expected a number of tokens such as >8000, <=4k or 1k..8k")
	}
	return nil
}

// count1k reads 8000, 8k or 1.5M.
func count1k(s string) (float64, bool) {
	unit := 1.0
	if i := len(s) - 1; i >= 0 {
		if known := strings.IndexByte("kM", s[i]); known >= 0 {
			unit, s = []float64{1e3, 1e6}[known], s[:i]
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	return v * unit, err == nil && v >= 0 && v <= 1e12
}

// Share is from which share to which, written as >90% or 50%..90%.
type Share struct{ bounds }

// UnmarshalText reads it.
func (s *Share) UnmarshalText(text []byte) error {
	if !s.parse(string(text), ParsePercent) {
		return errors.New("expected a share such as >90%, <=50% or 50%..90%")
	}
	return nil
}

// Hours are days, a time of day and a time zone, written as mon-fri 09:00-18:00 Asia/Shanghai.
type Hours struct {
	text     string
	days     uint8 // bits from Sunday; 0: all
	from, to int   // minutes of the day; of a night the end is not after the beginning
	zone     *time.Location
}

// IsZero tells those that are left open.
func (h Hours) IsZero() bool { return h.text == "" }

// MarshalText writes them as they are read.
func (h Hours) MarshalText() ([]byte, error) { return []byte(h.text), nil }

// UnmarshalText reads days, a time of day and a time zone, each of which may be left out.
func (h *Hours) UnmarshalText(text []byte) error {
	*h = Hours{text: strings.TrimSpace(string(text)), to: dayLength, zone: time.UTC}
	parts := strings.Fields(h.text)
	ok := len(parts) > 0 && len(parts) <= 3
	next := func(read func(string) bool) {
		if len(parts) > 0 && read(parts[0]) {
			parts = parts[1:]
		}
	}
	next(h.readDays)
	next(h.readClock)
	next(h.readZone)
	if !ok || len(parts) > 0 {
		return errors.New("expected days, a time of day and a time zone, in this order, such as mon-fri 09:00-18:00 Asia/Shanghai")
	}
	return nil
}

const dayLength = 24 * 60

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// readDays reads mon-fri or sat,sun.
func (h *Hours) readDays(text string) bool {
	var days uint8
	for part := range strings.SplitSeq(strings.ToLower(text), ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		first, last := slices.Index(weekdays, from), slices.Index(weekdays, to)
		if first < 0 || last < 0 {
			return false
		}
		for d := first; ; d = (d + 1) % 7 {
			days |= 1 << d
			if d == last {
				break
			}
		}
	}
	h.days = days
	return true
}

// readClock reads 09:00-18:00.
func (h *Hours) readClock(text string) bool {
	from, to, ok := strings.Cut(text, "-")
	first, ok1 := minuteOf(from)
	last, ok2 := minuteOf(to)
	if !ok || !ok1 || !ok2 || first == last || first == dayLength {
		return false
	}
	h.from, h.to = first, last
	return true
}

func minuteOf(text string) (int, bool) {
	if text == "24:00" {
		return dayLength, true
	}
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err == nil
}

func (h *Hours) readZone(text string) bool {
	zone, err := time.LoadLocation(text)
	if err == nil {
		h.zone = zone
	}
	return err == nil
}

// contain tells whether a moment is in them. A night belongs to the day on which it begins.
func (h *Hours) contain(t time.Time) bool {
	t = t.In(h.zone)
	at, day := t.Hour()*60+t.Minute(), int(t.Weekday())
	if h.from < h.to {
		return at >= h.from && at < h.to && h.on(day)
	}
	return at >= h.from && h.on(day) || at < h.to && h.on((day+6)%7)
}

func (h *Hours) on(day int) bool { return h.days == 0 || h.days&(1<<day) != 0 }
