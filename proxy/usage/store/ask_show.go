package store

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strconv"
	"strings"
	"time"

	"jarvis-gateway/proxy/wire"
)

// AppendJSON appends the answer as the APIs give it. Money is in dollars, to the last digit; what there is nothing of is null.
func (a *Answer) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"object":"usage","since":"`...)
	dst = a.Since.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","until":"`...)
	dst = a.Until.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","by":[`...)
	for i, name := range a.By {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = wire.AppendString(dst, name)
	}
	dst = append(dst, `],"data":[`...)
	for i := range a.Rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = a.appendRow(dst, &a.Rows[i])
	}
	dst = append(dst, `],"total":{`...)
	dst = a.Total.appendFields(dst)
	return append(strconv.AppendBool(append(dst, `},"has_more":`...), a.More), '}')
}

func (a *Answer) appendRow(dst []byte, r *Row) []byte {
	dst = append(dst, `{"group":{`...)
	for i, name := range a.By {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = wire.AppendString(dst, name)
		dst = wire.AppendString(append(dst, ':'), r.Group[i])
	}
	return append(r.appendFields(append(dst, '}', ',')), '}')
}

func (s *Sums) appendFields(dst []byte) []byte {
	for i := range measures {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = wire.AppendString(dst, measures[i].name)
		value := s.text(&measures[i])
		if value == "" {
			value = "null"
		}
		dst = append(append(dst, ':'), value...)
	}
	return dst
}

// text is a measure as a decimal number, "" where there is none.
func (s *Sums) text(m *measure) string {
	switch m.unit {
	case inShare:
		rate := s.ErrorRate()
		if m.name == "cache_hit_rate" {
			rate = s.CacheHitRate()
		}
		return decimal(rate)
	case inScore:
		if s.Feedback == 0 {
			return ""
		}
		return decimal(s.Score())
	case inMoney:
		return string(wire.Money(*m.field(s)).AppendDecimal(nil))
	case inMillis:
		if *m.field(s) < 0 {
			return ""
		}
		return decimal(float64(*m.field(s)) / 1000)
	}
	return strconv.FormatInt(*m.field(s), 10)
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// CSV is the answer for spreadsheets, without the total: they sum up themselves.
func (a *Answer) CSV() []byte {
	lines := [][]string{append(slices.Clone(a.By), measureNames()...)}
	for i := range a.Rows {
		line := make([]string, 0, len(lines[0]))
		for _, value := range a.Rows[i].Group {
			line = append(line, unformula(value))
		}
		for m := range measures {
			line = append(line, a.Rows[i].text(&measures[m]))
		}
		lines = append(lines, line)
	}
	var out bytes.Buffer
	_ = csv.NewWriter(&out).WriteAll(lines) // into memory
	return out.Bytes()
}

// unformula keeps a spreadsheet from taking what somebody called something for a formula. https://owasp.org/www-community/attacks/CSV_Injection
func unformula(cell string) string {
	if strings.HasPrefix(strings.TrimLeft(cell, " "), "=") || strings.IndexAny(cell, "=+-@\t\r\n") == 0 || strings.ContainsAny(cell, "\x00") || fullwidthFormula(cell) {
		return "'" + strings.ReplaceAll(cell, "\x00", "")
	}
	return cell
}

// fullwidthFormula is what some spreadsheets take for one of the above.
func fullwidthFormula(cell string) bool {
	return slices.ContainsFunc([]string{"＝", "＋", "－", "＠"}, func(sign string) bool { return strings.HasPrefix(cell, sign) })
}
