package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"
)

// arrival is one request of a trace.
type arrival struct {
	at     time.Duration // since the trace began
	date   time.Time     // where the trace has dates; else zero
	model  string
	tenant string
	key    string
	user   string
	stream bool
	body   json.RawMessage // of the request; nil where there are only numbers
	prompt int64           // tokens; -1: as the body says
	answer int64
	hashes []uint64 // of blocks of the prompt's beginning: equal ones for equal beginnings
}

// traceLine is a line of JSON, in this gateway's own form or in Mooncake's.
type traceLine struct {
	At         *float64        `json:"at"` // seconds
	Model      string          `json:"model"`
	Tenant     string          `json:"tenant"`
	Key        string          `json:"key"`
	User       string          `json:"user"`
	Stream     bool            `json:"stream"`
	Body       json.RawMessage `json:"body"`
	Prompt     *int64          `json:"prompt_tokens"`
	Completion int64           `json:"completion_tokens"`
	Hashes     []uint64        `json:"hash_ids"`

	Timestamp *float64 `json:"timestamp"` // milliseconds
	Input     *int64   `json:"input_length"`
	Output    int64    `json:"output_length"`
}

const longestTraceLine = 64 << 20

// readTrace reads a trace, in the order of time.
func readTrace(path string) ([]arrival, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 64<<10)
	head, err := in.Peek(1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(errors.New("there is no trace in it"), err))
	}
	read := readCSV
	if head[0] == '{' {
		read = readLines
	}
	list, err := read(in)
	if err == nil && len(list) == 0 {
		err = errors.New("there is no request in it")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	slices.SortStableFunc(list, func(a, b arrival) int { return int(min(1, max(-1, a.at-b.at))) })
	return list, nil
}

func readLines(in io.Reader) (list []arrival, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longestTraceLine)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var l traceLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		a, err := l.arrival()
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		list = append(list, a)
	}
	return list, lines.Err()
}

// longestTrace is a year: a larger number is no time of a trace, but a date.
const longestTrace = 366 * 24 * time.Hour

func (l *traceLine) arrival() (arrival, error) {
	a := arrival{model: l.Model, tenant: l.Tenant, key: l.Key, user: l.User, stream: l.Stream, body: l.Body, prompt: -1, answer: l.Completion, hashes: l.Hashes}
	var seconds float64
	switch {
	case l.At != nil:
		seconds = *l.At
	case l.Timestamp != nil:
		seconds = *l.Timestamp / 1000
	default:
		return a, errors.New("no at and no timestamp")
	}
	if !(seconds >= 0 && seconds <= longestTrace.Seconds()) {
		return a, fmt.Errorf("%g s is no time since a trace began", seconds)
	}
	a.at = time.Duration(seconds * float64(time.Second))
	switch {
	case l.Prompt != nil:
		a.prompt = *l.Prompt
	case l.Input != nil:
		a.prompt, a.answer = *l.Input, l.Output
	case l.Body == nil:
		return a, errors.New("no prompt_tokens, no input_length and no body")
	}
	if a.prompt < -1 || a.answer < 0 {
		return a, errors.New("fewer than no tokens")
	}
	return a, nil
}

// readCSV reads the columns of Azure's traces. https://github.com/Azure/AzurePublicDataset
func readCSV(in io.Reader) (list []arrival, err error) {
	rows := csv.NewReader(in)
	head, err := rows.Read()
	if err != nil {
		return nil, err
	}
	at, prompt, answer := slices.Index(head, "TIMESTAMP"), slices.Index(head, "ContextTokens"), slices.Index(head, "GeneratedTokens")
	if at < 0 || prompt < 0 || answer < 0 {
		return nil, fmt.Errorf("it has neither lines of JSON nor the columns TIMESTAMP, ContextTokens and GeneratedTokens, but %q", head)
	}
	var first time.Time
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		var a arrival
		var errs [3]error
		a.date, errs[0] = time.Parse("2006-01-02 15:04:05", row[at]) // it also takes fractions of a second
		a.prompt, errs[1] = strconv.ParseInt(row[prompt], 10, 64)
		a.answer, errs[2] = strconv.ParseInt(row[answer], 10, 64)
		if err := errors.Join(errs[:]...); err != nil || a.prompt < 0 || a.answer < 0 {
			line, _ := rows.FieldPos(at)
			return nil, fmt.Errorf("line %d: %w", line, errors.Join(errors.New("expected a date and two numbers of tokens"), err))
		}
		if first.IsZero() {
			first = a.date
		}
		if a.at = a.date.Sub(first); a.at < 0 || a.at > longestTrace {
			line, _ := rows.FieldPos(at)
			return nil, fmt.Errorf("line %d: %s is not within a year after the first", line, row[at])
		}
		list = append(list, a)
	}
}
