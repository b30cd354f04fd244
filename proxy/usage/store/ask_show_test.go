package store

import (
	"encoding/csv"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// What somebody called something is no formula in a spreadsheet, and stays in its cell.
func TestSpreadsheetsAreSafe(t *testing.T) {
	for cell, want := range map[string]string{
		"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t=1", "\r=1": "'\r\n", " =1": "' =1", "＝1": "'＝1", "a=b": "a=b",
		`a"b`: `a"b`, "a,b": "a,b", "a\nb": "a\nb", "": "", "租户": "租户", "a\x00b": "'ab", "-": "'-", "|calc": "|calc",
	} {
		a := &Answer{By: []string{"user"}, Rows: []Row{{Group: []string{cell}}}}
		rows, err := csv.NewReader(strings.NewReader(string(a.CSV()))).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[1]) != len(rows[0]) {
			t.Fatalf("%q: %v %q", cell, err, rows)
		}
		if got := rows[1][0]; got != want && !(strings.Contains(cell, "\r") && strings.HasPrefix(got, "'")) {
			t.Errorf("%q is %q, want %q", cell, got, want)
		}
	}
}

// Whatever stands in a URL, a question made of it asks for no more than its scope, and can be answered or is refused.
func FuzzReadQuestion(f *testing.F) {
	for _, seed := range []string{"by=tenant,model&since=7d", "where.tenant=acme&where.tenant=globex", "by=day&timezone=Asia%2FShanghai&since=month&until=now", "order=cost_usd&desc=false&limit=7",
		"where.tag=%27+OR+1%3D1+--", "since=2026-03-29&timezone=Europe/Berlin&by=hour", "by=replica", "since=-1d", "until=99999d", "where.=x", "%zz"} {
		f.Add(seed)
	}
	now := time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC)
	a := &asker{tongue: sqliteTongue}
	a.from = func(table string) string { return table }
	f.Fuzz(func(t *testing.T, text string) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q, err := ReadQuestion(query, Scope{Tenant: "acme", Key: "dev", Since: now.AddDate(0, 0, -3)}, now)
		if err == nil {
			err = q.check(now)
		}
		if err != nil {
			if e, ok := err.(*wire.Error); !ok || e.Status >= 500 {
				t.Fatal(err)
			}
			return
		}
		statement, args := a.statement(&q, measures)
		if strings.Count(statement, "?") != len(args) {
			t.Fatalf("%d parameters for %s", len(args), statement)
		}
		if !slices.Equal(q.Where["tenant"], []string{"acme"}) || !slices.Equal(q.Where["key"], []string{"dev"}) || q.Since.Before(now.AddDate(0, 0, -3)) || slices.Contains(q.By, "replica") {
			t.Fatalf("it asks for %+v", q)
		}
		for _, values := range query {
			for _, v := range values {
				if strings.ContainsAny(v, `'"\`) && strings.Contains(statement, v) {
					t.Fatalf("%q stands in %s", v, statement)
				}
			}
		}
	})
}

func TestTimesOfQuestions(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 30, 1, 30, 0, 0, zone) // the day after the clock was moved
	for text, want := range map[string]string{
		"24h": "2026-03-29T00:30:00+01:00", "1d": "2026-03-29T01:30:00+01:00", "today": "2026-03-30T00:00:00+02:00", "month": "2026-03-01T00:00:00+01:00", "now": "2026-03-30T01:30:00+02:00",
		"2026-01-31": "2026-01-31T00:00:00+01:00", "2026-01-31T08:00:00Z": "2026-01-31T08:00:00Z", "0d": "2026-03-30T01:30:00+02:00",
	} {
		if got, err := ReadTime("since", text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s: %v %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"d", "-1d", "-1h", "7", "yesterday", "2026-13-01", "999999999d", "1e3d", "٣d"} {
		if got, err := ReadTime("since", text, now); err == nil {
			t.Errorf("%s is %v", text, got)
		}
	}
}

// Requests come newest first, a page after the other, each once, whole, with their attempts and the latest that was thought of them.
func TestRequests(t *testing.T) {
	eachStore(t, func(t *testing.T, s *Store) {
		at := askNoon
		var records []*usage.Record
		for i := range 25 {
			if i%4 != 0 { // some at the same moment
				at = at.Add(time.Second)
			}
			r := record(i, at)
			r.Tags = []string{"x", hostile, "标签"}
			records = append(records, r)
		}
		fill(t, s, "list", records, &usage.Feedback{UID: uidOf(900), Time: at, Of: records[24].UID, Request: "req_24", Tenant: records[24].Tenant, Score: -1},
			&usage.Feedback{UID: uidOf(901), Time: at.Add(time.Hour), Request: "req_24", Tenant: records[24].Tenant, Score: 0.25})
		seen := map[usage.UID]bool{}
		last := time.Time{}
		l := Listing{Question: Question{Since: askNoon, Until: at.Add(1000), Limit: 4}}
		for {
			page, more, err := s.Requests(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				if seen[r.UID] || !last.IsZero() && r.Time.After(last) {
					t.Fatalf("%s comes again, or too late", r.UID)
				}
				seen[r.UID], last, l.After = true, r.Time, r.Cursor()
			}
			if !more {
				break
			}
		}
		if len(seen) != 25 {
			t.Errorf("%d of 25 requests", len(seen))
		}
		found, more, err := s.Requests(t.Context(), Listing{ID: "req_24", Question: Question{Until: at.AddDate(0, 1, 0)}})
		if err != nil || more || len(found) != 1 {
			t.Fatalf("%v %v %v", found, more, err)
		}
		want, got := records[24], found[0]
		if got.Tenant != want.Tenant || got.User != want.User || !slices.Equal(got.Tags, want.Tags) || !got.Time.Equal(want.Time) || got.Cost != want.Cost || got.Overhead != want.Overhead ||
			got.Status != want.Status || got.Stream != want.Stream || got.Similarity != want.Similarity || got.Usage.Completion != want.Usage.Completion || got.Finish != want.Finish || got.In != want.In {
			t.Errorf("%+v\nof\n%+v", got, want)
		}
		if len(got.Attempts) != len(want.Attempts) || got.Attempts[0].Cost != 31 || got.Attempts[len(got.Attempts)-1].Begun != want.Attempts[len(got.Attempts)-1].Begun || !got.Rated || got.Score != 0.25 {
			t.Errorf("%+v", got)
		}
		for _, l := range []Listing{{UID: want.UID.String()}, {UID: strings.ToUpper(want.UID.String())}, {UID: "urn:uuid:" + want.UID.String()}, {ID: "req_24", Question: Question{Where: map[string][]string{"tag": {hostile}}}}, {UID: want.UID.String(), Question: Question{Where: map[string][]string{"tenant": {want.Tenant}}}}} {
			l.Until = at.AddDate(0, 0, 1)
			if found, _, err := s.Requests(t.Context(), l); err != nil || len(found) != 1 || found[0].UID != want.UID {
				t.Errorf("%+v: %v %v", l, found, err)
			}
		}
		for _, l := range []Listing{{ID: "' OR '1'='1"}, {ID: "req_24", Question: Question{Where: map[string][]string{"tenant": {"other"}}}}} {
			if found, _, err := s.Requests(t.Context(), l); err != nil || len(found) != 0 {
				t.Errorf("%+v: %v %v", l, found, err)
			}
		}
		for param, l := range map[string]Listing{"after": {After: "1; DROP TABLE requests"}, "uid": {UID: "' OR 1=1 --"}} {
			if _, _, err := s.Requests(t.Context(), l); err == nil || err.(*wire.Error).Param != param {
				t.Errorf("%+v: %v", l, err)
			}
		}
	})
}
