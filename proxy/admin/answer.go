package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// write answers with JSON. Nothing of the private port is for a cache to keep.
func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(mustEncode(v), '\n')) // the client has gone; nobody to tell
}

// page is a list, or the part of it that a client asked for, in OpenAI's form.
type page struct {
	Object  string `json:"object"`
	Data    []any  `json:"data"`
	FirstID string `json:"first_id,omitempty"`
	LastID  string `json:"last_id,omitempty"`
	More    bool   `json:"has_more"`
}

// id is what `after` goes on from.
func listOf[T any](rows []T, most int, id func(T) string) page {
	p := page{Object: "list", Data: []any{}, More: len(rows) > most}
	for _, row := range rows[:min(most, len(rows))] {
		if p.LastID = id(row); len(p.Data) == 0 {
			p.FirstID = p.LastID
		}
		p.Data = append(p.Data, row)
	}
	return p
}

const (
	defaultPage = 100
	largestPage = 1000
)

// paging reads `limit` and `after`.
func paging(r *http.Request) (most int, after string, err error) {
	q := r.URL.Query()
	if most = defaultPage; q.Has("limit") {
		if most, err = strconv.Atoi(q.Get("limit")); err != nil || most < 1 || most > largestPage {
			return 0, "", wire.Invalid("limit", "limit: expected a whole number from 1 to %d.", largestPage)
		}
	}
	return most, q.Get("after"), nil
}

// fail answers with an error. What a client may not know is logged, under the request's id.
func fail(w http.ResponseWriter, log *slog.Logger, err error) {
	e, ok := errors.AsType[*wire.Error](err)
	if !ok {
		e = wire.Server(500, "internal_error", "Internal error. The gateway's log tells more under the request id.", err)
	}
	if e.Status >= 500 && !errors.Is(err, context.Canceled) { // the client did not wait
		log.Error("an answer of the admin API failed", "request_id", w.Header().Get(requestID), "status", e.Status, "cause", err.Error())
	}
	if e.Status == 401 {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(e.Status)
	_, _ = w.Write(append(e.AppendJSON(nil), '\n')) // the client has gone; nobody to tell
}

func notFound(what, name string) error {
	return &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "not_found", Message: "There is no " + what + " " + strconv.Quote(name) + "."}
}

func conflict(code, param, message string) error {
	return &wire.Error{Status: 409, Type: wire.TypeInvalid, Code: code, Param: param, Message: message}
}

func denied(param, message string) error {
	return &wire.Error{Status: 403, Type: wire.TypePermission, Code: "permission_denied", Param: param, Message: message}
}

func changedMeanwhile() error {
	return &wire.Error{Status: 412, Type: wire.TypeInvalid, Code: "precondition_failed", Param: "revision",
		Message: "It was changed meanwhile. Read it again, and send the change with the revision that you read."}
}

// invalid words what is wrong with a body. The errors are those of the configuration, each "path: what is wrong".
func invalid(err error) error {
	var lines []string
	param := ""
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if path, _, ok := strings.Cut(line, ": "); ok && len(lines) == 0 && pathLike.MatchString(path) {
			param = path
		}
		lines = append(lines, line)
	}
	return wire.Invalid(param, "%s", strings.Join(lines, "; "))
}

var pathLike = regexp.MustCompile(`^[^\s:]+$`)
