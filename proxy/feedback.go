package proxy

import (
	"context"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
	"jarvis-gateway/router/prompt"
)

// This file takes what clients think of answers.

var (
	feedbacks = newCounter("jarvis_feedback_total", "Feedback by the entry of `models` that served, its sign (up, down, even), and whether it took the place of an earlier one.", "model", "sign", "again")
	ratings   = newGauge("jarvis_feedback_score", "Sum of the scores, from -1 to 1, that answers have: of feedback that took the place of an earlier one only the last.", "model")
)

// Ratings is where feedback goes. The zero value of both fields knows and tells nobody; they are set before the server serves.
type Ratings struct {
	Past Past  // of answers that are not remembered any more
	Sink Rater // is told of all feedback

	served *served
}

// Past knows answers of longer ago, and of other gateways.
type Past interface {
	// Served is the request of a tenant by its id, or that of its answer; false where he had none.
	Served(ctx context.Context, tenant, id string) (Served, bool, error)
}

// Served is a request that was answered.
type Served struct {
	Record       usage.UID
	Request      string   // its id
	Team         string   // that asked
	Model        string   // the entry of models that served
	Prompt       string   // the template, name@version
	Rollout, Arm string   // the entry that has a rollout, and the one that it gave the request to; "" where there was none
	Score        *float64 // that it was given so far; nil: none
}

// Rater is told of feedback.
type Rater interface {
	// Take must not block for long: the client waits. Comment and Metadata are content, which belongs in no log.
	Take(f Feedback)
}

// Feedback is what a client thinks of an answer, and may add to it.
type Feedback struct {
	usage.Feedback
	Again bool // it takes the place of an earlier one
}

// The most that is taken.
const (
	maxFeedback = 64 << 10 // bytes of the request
	maxComment  = 4096     // characters, as are the next two
	maxNoteName = 64
	maxNote     = 512
	maxNotes    = 16
)

// opinion is feedback as the client sends it.
type opinion struct {
	request, comment string
	score            float64
	scored           bool
	metadata         string
}

// feedback takes what a client thinks of an answer of his tenant's, or of his team's where he has one.
func (g *Gateway) feedback(x *exchange) error {
	raw := x.ctx.Request.Body()
	if len(raw) > maxFeedback {
		return &wire.Error{Status: 413, Type: wire.TypeInvalid, Code: "request_too_large", Message: "Feedback has at most " + strconv.Itoa(maxFeedback>>10) + " KiB."}
	}
	if _, err := wire.Parse(raw); err != nil {
		return err
	}
	o, err := readOpinion(raw)
	if err != nil {
		return err
	}
	a, before, err := g.rated(x, &o)
	if err != nil {
		return err
	}
	model, arm := a.side.Names()
	a.side.Score(o.score, before)
	countFeedback(a.model, o.score, before)
	if sink := x.conn.server.Ratings.Sink; sink != nil {
		f := Feedback{Again: before != nil}
		f.UID, f.Time, f.Request, f.Tenant, f.Key, f.User = usage.NewUID(x.start), x.start, a.id.String(), x.caller.Tenant, x.caller.Key, x.caller.User
		f.Of, f.Score, f.Comment, f.Metadata, f.Model, f.Rollout, f.Arm = a.record, o.score, o.comment, o.metadata, a.model, model, arm
		if a.prompt != nil {
			f.Prompt = a.prompt.Name + "@" + a.prompt.Version
		}
		sink.Take(f)
	}
	out := wire.AppendString([]byte(`{"object":"feedback","request_id":`), a.id.String())
	out = strconv.AppendFloat(append(out, `,"score":`...), o.score, 'g', -1, 64)
	out = strconv.AppendBool(append(out, `,"replaced":`...), before != nil)
	x.answer(append(out, '}'))
	return nil
}

// rated gives the answer its score.
func (g *Gateway) rated(x *exchange, o *opinion) (a answer, before *float64, err error) {
	r, tenant, team := &x.conn.server.Ratings, x.caller.Tenant, x.caller.Sees().Team
	a, before, ok := r.served.rate(tenant, team, o.request, o.score)
	if ok || r.Past == nil {
		return a, before, known(ok, o.request)
	}
	ctx, cancel := x.lookup()
	defer cancel()
	past, ok, err := r.Past.Served(ctx, tenant, o.request)
	if err != nil {
		return a, nil, wire.Server(503, "usage_unavailable", "What was answered longer ago cannot be found out at the moment. Please try again.", err)
	}
	if !ok || team != "" && past.Team != team {
		return a, nil, known(false, o.request)
	}
	a = r.served.recall(tenant, &past, g.Router.Side(past.Rollout, past.Arm))
	a, before, ok = r.served.rate(tenant, team, a.id.String(), o.score)
	return a, before, known(ok, o.request)
}

// recall remembers again what was forgotten, so that the next feedback takes the place of this one.
func (s *served) recall(tenant string, past *Served, side router.Side) answer {
	id := []byte(past.Request)
	a := answer{tenant: tenant, team: past.Team, model: past.Model, side: side, record: past.Record}
	if name, version, ok := strings.Cut(past.Prompt, "@"); ok {
		a.prompt = &prompt.Used{Name: name, Version: version}
	}
	if a.id.set(id); past.Score != nil {
		a.score, a.scored = *past.Score, true
	}
	s.put(s.digest(tenant, id), &a)
	return a
}

func known(ok bool, id string) error {
	if ok {
		return nil
	}
	return &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "request_not_found", Param: "request_id",
		Message: "No request '" + shorten(id) + "' of yours was answered, or it was too long ago."}
}

// countFeedback counts it in the metrics.
func countFeedback(model string, score float64, before *float64) {
	sign := "even"
	switch {
	case score > 0:
		sign = "up"
	case score < 0:
		sign = "down"
	}
	feedbacks.WithLabelValues(model, sign, strconv.FormatBool(before != nil)).Inc()
	if before != nil {
		score -= *before
	}
	ratings.WithLabelValues(model).Add(score)
}

// readOpinion reads the request, which is valid JSON.
func readOpinion(raw []byte) (o opinion, err error) {
	gjson.ParseBytes(raw).ForEach(func(field, v gjson.Result) bool { // of a copy
		switch field.Str {
		case "request_id":
			err = o.readRequest(field.Str, v)
		case "score":
			err = o.readScore(v)
		case "comment":
			if o.comment = v.Str; v.Type != gjson.Null && (v.Type != gjson.String || utf8.RuneCountInString(v.Str) > maxComment) {
				err = wire.Invalid("comment", "comment: expected a string of at most %d characters.", maxComment)
			}
		case "metadata":
			err = o.readMetadata(v)
		default:
			err = wire.Invalid(shorten(field.Str), "%s: unknown field (choices: request_id, score, comment, metadata).", shorten(field.Str))
		}
		return err == nil
	})
	switch {
	case err != nil:
	case o.request == "":
		err = wire.Invalid("request_id", "request_id: needed, here or in metadata: the X-Request-Id that came with the answer, or the answer's own id.")
	case !o.scored:
		err = wire.Invalid("score", "score: needed: a number from -1 (bad) to 1 (good), true or false, or \"up\" or \"down\".")
	}
	return o, err
}

func (o *opinion) readRequest(at string, v gjson.Result) error {
	if v.Type != gjson.String || v.Str == "" {
		return wire.Invalid(at, "%s: expected the id of a request or of its answer.", at)
	}
	if at == "request_id" || o.request == "" {
		o.request = v.Str
	}
	return nil
}

func (o *opinion) readScore(v gjson.Result) error {
	o.scored = true
	switch {
	case v.Type == gjson.Number && v.Num >= -1 && v.Num <= 1:
		o.score = v.Num
	case v.Type == gjson.True, v.Str == "up":
		o.score = 1
	case v.Type == gjson.False, v.Str == "down":
		o.score = -1
	default:
		return wire.Invalid("score", "score: expected a number from -1 (bad) to 1 (good), true or false, or \"up\" or \"down\".")
	}
	return nil
}

// readMetadata reads metadata as OpenAI has them, which may say whose the feedback is.
func (o *opinion) readMetadata(v gjson.Result) (err error) {
	if v.Type == gjson.Null {
		return nil
	}
	bad := wire.Invalid("metadata", "metadata: expected an object of at most %d members, names of at most %d characters, and values that are strings of at most %d, numbers, true or false.", maxNotes, maxNoteName, maxNote)
	if !v.IsObject() {
		return bad
	}
	n := 0
	v.ForEach(func(name, note gjson.Result) bool {
		n++
		long := utf8.RuneCountInString(name.Str) > maxNoteName || utf8.RuneCountInString(note.Str) > maxNote
		if n > maxNotes || long || note.Type == gjson.Null || note.Type == gjson.JSON {
			err = bad
		} else if name.Str == "request_id" {
			err = o.readRequest("metadata.request_id", note)
		}
		return err == nil
	})
	o.metadata = v.Raw
	return err
}
