package ragplug

import (
	"database/sql"
	"maps"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite"
)

// A search ranks as well as SQLite's full-text search does, which is given the same terms to look for: to leave passages out that have too
// little to do with a question costs at most two hundredths.
func TestQualityBesideSQLite(t *testing.T) {
	for _, set := range []string{"cranfield", "cmrc2018-zh"} {
		c := load(t, set)
		for _, id := range slices.Sorted(maps.Keys(c.answers))[225:max(225, len(c.answers))] { // SQLite takes long, with the race detector
			delete(c.answers, id)
		}
		db, err := sql.Open("sqlite", ":memory:")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		db.SetMaxOpenConns(1)
		if _, err = db.Exec("create virtual table f using fts5(name unindexed, text, tokenize='porter unicode61')"); err != nil {
			t.Fatal(err)
		}
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range c.corpus.documents {
			if _, err := tx.Exec("insert into f values(?, ?)", strings.TrimSuffix(d.name, ".md"), spaced(d.text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		ours, oursGain := c.measure(func(query string) []string { return c.ranked(query, 20) })
		its, itsGain := c.measure(func(query string) (list []string) {
			rows, err := db.Query("select name from f where f match ? order by bm25(f), rowid limit 20", anyOf(spaced(query)))
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					t.Fatal(err)
				}
				list = append(list, name)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			return list
		})
		t.Logf("%s: recall@5 %.4f, nDCG@10 %.4f; SQLite's %.4f, %.4f", set, ours, oursGain, its, itsGain)
		if ours < its-0.02 || oursGain < itsGain-0.02 {
			t.Errorf("%s: it is worse than SQLite's", set)
		}
	}
}

// spaced is a text with its runs of Chinese as pairs of characters, which SQLite does not make of them.
func spaced(text string) string {
	var b strings.Builder
	var before rune
	for _, r := range text {
		dense := classOf(r) == dense
		if dense && before != 0 {
			b.WriteString(" " + string([]rune{before, r}) + " ")
		}
		if before = 0; dense {
			before = r
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// anyOf is a search for any of a text's words.
func anyOf(text string) string {
	var words []string
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return classOf(r) != letter && classOf(r) != dense }) {
		words = append(words, `"`+w+`"`)
	}
	return strings.Join(words, " OR ")
}
