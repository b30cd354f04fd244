package main

import (
	"bufio"
	"cmp"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/tidwall/gjson"
	"golang.org/x/text/width"

	"jarvis-gateway/proxy/wire"
)

// grid is a table with numbers: these stand to the right, and money of a column has as many digits as its smallest amount needs.
type grid struct{ columns []gridColumn }

type gridColumn struct {
	cells []string // the head first
	right bool
}

// text begins a column of words and returns its place.
func (g *grid) text(head string) int {
	g.columns = append(g.columns, gridColumn{cells: []string{head}})
	return len(g.columns) - 1
}

// add adds a cell. What others named must not move the cursor.
func (g *grid) add(column int, cell string) {
	g.columns[column].cells = append(g.columns[column].cells, oneLine(cmp.Or(cell, "-")))
}

// group adds the column of the group that rows are of, if there is one.
func (g *grid) group(by string, rows []gjson.Result) {
	if by == "" {
		return
	}
	at := g.text(strings.ToUpper(by))
	for _, r := range rows {
		g.add(at, r.Get("group").Map()[by].String())
	}
}

// numbers adds a whole column; without cell, of dollars.
func (g *grid) numbers(head string, values []gjson.Result, cell func(gjson.Result) string) {
	if cell == nil {
		cell = amounts(values)
	}
	at := g.text(head)
	g.columns[at].right = true
	for _, v := range values {
		g.add(at, cell(v))
	}
}

// amounts writes dollars with two digits behind the point or, where that shows less than three digits of one, more of them.
func amounts(values []gjson.Result) func(gjson.Result) string {
	digits, unit := 2, int64(wire.Dollar/100)
	for _, v := range values {
		m, err := wire.ParseMoney(v.Raw)
		for err == nil && m > 0 && digits < 9 && int64(m) < 100*unit {
			digits, unit = digits+1, unit/10
		}
	}
	return func(v gjson.Result) string {
		m, err := wire.ParseMoney(v.Raw)
		if err != nil {
			return v.Raw
		}
		n := (int64(m) + unit/2) / unit
		tail := strconv.FormatInt(n%(int64(wire.Dollar)/unit), 10)
		return "$" + strconv.FormatInt(n/(int64(wire.Dollar)/unit), 10) + "." + strings.Repeat("0", digits-len(tail)) + tail
	}
}

func (g *grid) print(to io.Writer) error {
	out := bufio.NewWriter(to)
	for row := range g.columns[0].cells {
		line := ""
		for i, c := range g.columns {
			cell := c.cells[row]
			gap := strings.Repeat(" ", c.width()-shownWidth(cell))
			if i > 0 {
				line += "  "
			}
			if c.right {
				line += gap + cell
			} else {
				line += cell + gap
			}
		}
		_, _ = out.WriteString(strings.TrimRight(line, " ") + "\n") // Flush tells
	}
	return out.Flush()
}

func (c *gridColumn) width() (most int) {
	for _, cell := range c.cells {
		most = max(most, shownWidth(cell))
	}
	return most
}

// shownWidth is how many places of a terminal a text takes: a Chinese character takes two, an accent none.
func shownWidth(s string) (n int) {
	for _, r := range s {
		switch kind := width.LookupRune(r).Kind(); {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}
