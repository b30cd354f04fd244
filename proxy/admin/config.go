package admin

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
)

// Refused is the error of a configuration that cannot come into force. What is wrong is told line by line, "path: what is
// wrong".
type Refused struct{ Err error }

func (e Refused) Error() string { return e.Err.Error() }
func (e Refused) Unwrap() error { return e.Err }

// ErrNotPinned is the error of Unpin where no version is pinned.
var ErrNotPinned = errors.New("no version is pinned")

// effect is which versions are in force here and everywhere.
type effect struct {
	current int64 // 0: none that was kept
	pin     state.Pin
}

func (c *call) effect() (now effect, err error) {
	hash, here := c.InForce() // it waits for a reload that is under way
	if err := c.Store.Flush(c.r.Context()); err != nil {
		return now, storeError(err) // what was kept a moment ago is on its way
	}
	if now.current, err = c.Store.LastVersion(c.r.Context(), hash); err != nil {
		return now, storeError(err)
	}
	if now.pin, err = c.Store.Pinned(c.r.Context()); err != nil {
		return now, storeError(err)
	}
	if now.pin.Ended {
		now.pin = here // nothing, or what goes on here until these files change too
	}
	return now, nil
}

func (now effect) view(v state.Version) view {
	shown := view{"object": "config.version", "id": v.ID, "sha256": v.SHA256, "author": v.Author, "at": stamp(v.At),
		"current": v.ID == now.current, "pinned": v.ID == now.pin.Version}
	if v.Restores != 0 {
		shown["restores"] = v.Restores
	}
	if v.ID == now.pin.Version {
		shown["pinned_by"], shown["pinned_at"] = now.pin.Author, stamp(now.pin.At)
	}
	return shown
}

// listVersions shows the configurations that were in force, the newest first.
func listVersions(c *call) error {
	most, after, err := paging(c.r)
	if err != nil {
		return err
	}
	before := int64(0)
	if after != "" {
		if before, err = versionNumber("after", after); err != nil {
			return err
		}
	}
	now, err := c.effect()
	if err != nil {
		return err
	}
	versions, err := c.Store.Versions(c.r.Context(), before, most+1)
	if err != nil {
		return storeError(err)
	}
	rows := make([]view, len(versions))
	for i, v := range versions {
		rows[i] = now.view(v)
	}
	write(c.w, http.StatusOK, listOf(rows, most, func(v view) string { return strconv.FormatInt(v["id"].(int64), 10) }))
	return nil
}

func versionNumber(field, text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, wire.Invalid(field, "%s: expected the id of a version, a whole number from 1.", field)
	}
	return id, nil
}

// version reads one that somebody asks for.
func (c *call) version(field, text string) (v state.Version, err error) {
	id, err := versionNumber(field, text)
	if err != nil {
		return v, err
	}
	if v, err = c.Store.Version(c.r.Context(), id); err != nil {
		return v, versionError(err, id)
	}
	return v, nil
}

func versionError(err error, id int64) error {
	if errors.Is(err, state.ErrNoVersion) {
		return notFound("version", strconv.FormatInt(id, 10))
	}
	return storeError(err)
}

// showVersion shows a version with its files.
func showVersion(c *call) error {
	now, err := c.effect()
	if err != nil {
		return err
	}
	v, err := c.version("version", c.r.PathValue("version"))
	if err != nil {
		return err
	}
	shown := now.view(v)
	shown["files"] = v.Files
	write(c.w, http.StatusOK, shown)
	return nil
}

// diffVersions shows what differs between two versions: by default the one in force and the one before it.
func diffVersions(c *call) error {
	q := c.r.URL.Query()
	from, to := q.Get("from"), q.Get("to")
	if to == "" {
		now, err := c.effect()
		if err != nil {
			return err
		}
		to = strconv.FormatInt(now.current, 10)
	}
	next, err := c.version("to", to)
	if err != nil {
		return err
	}
	var prev state.Version
	if from == "" {
		prev, err = c.before(next.ID)
	} else {
		prev, err = c.version("from", from)
	}
	if err != nil {
		return err
	}
	write(c.w, http.StatusOK, view{"object": "config.diff", "from": prev.ID, "to": next.ID, "diff": diff(prev, next)})
	return nil
}

// before is the version before one; of the first there is none, and nothing in it.
func (c *call) before(id int64) (v state.Version, err error) {
	older, err := c.Store.Versions(c.r.Context(), id, 1)
	if err != nil || len(older) == 0 {
		return v, storeError(err)
	}
	if v, err = c.Store.Version(c.r.Context(), older[0].ID); err != nil {
		return v, versionError(err, older[0].ID)
	}
	return v, nil
}

// diff is a unified diff, file by file.
func diff(from, to state.Version) string {
	var out strings.Builder
	for _, name := range names(from, to) {
		old, was := fileOf(from, name)
		text, is := fileOf(to, name)
		out.WriteString(udiff.Unified(label(from, name, was), label(to, name, is), old, text))
	}
	return out.String()
}

func names(of ...state.Version) (all []string) {
	for _, v := range of {
		for _, f := range v.Files {
			if !slices.Contains(all, f.Name) {
				all = append(all, f.Name)
			}
		}
	}
	return all
}

func fileOf(v state.Version, name string) (text string, found bool) {
	i := slices.IndexFunc(v.Files, func(f state.ConfigFile) bool { return f.Name == name })
	if i < 0 {
		return "", false
	}
	return v.Files[i].Text, true
}

func label(v state.Version, name string, found bool) string {
	if !found {
		return "/dev/null"
	}
	return "version " + strconv.FormatInt(v.ID, 10) + "/" + name
}

// rollback has a version go in place of the files.
func rollback(c *call) error {
	body, err := readObject(c.r)
	if err != nil {
		return err
	}
	number, given := body["version"]
	delete(body, "version")
	for field := range body {
		return wire.Invalid(field, "%s: unknown field (choices: version).", field)
	}
	n, isNumber := number.(interface{ Int64() (int64, error) })
	if !given || !isNumber {
		return wire.Invalid("version", "version: expected the id of a version, a whole number.")
	}
	id, err := n.Int64()
	if err != nil {
		return wire.Invalid("version", "version: expected the id of a version, a whole number.")
	}
	err = c.Rollback(c.r.Context(), id, c.who.name)
	c.configChange("config.rollback", object{"version": id, "rolled_back": err == nil})
	if err != nil {
		return configError(err, id, "The configuration was not rolled back; the one before stays in force.")
	}
	return c.outcome("config.rollback")
}

// unpin has the files go again.
func unpin(c *call) error {
	err := c.Unpin(c.r.Context(), c.who.name)
	c.configChange("config.unpin", object{"unpinned": err == nil})
	if err != nil {
		return configError(err, 0, "The pinned version stays in force: the files cannot be.")
	}
	return c.outcome("config.unpin")
}

// outcome shows the version that is in force now.
func (c *call) outcome(what string) error {
	now, err := c.effect()
	if err != nil {
		return err
	}
	write(c.w, http.StatusOK, view{"object": what, "version": now.current, "pinned": now.pin.Version != 0})
	return nil
}

// configChange notes a change of the configuration in the audit log, or an attempt at one.
func (c *call) configChange(action string, after object) {
	e := c.entry(action, "", "", nil, after)
	e.Kind = state.ConfigChange
	c.Store.Record(e)
}

func configError(err error, version int64, outcome string) error {
	if _, refused := errors.AsType[Refused](err); refused {
		e := invalid(err).(*wire.Error)
		e.Code, e.Message = "config_invalid", outcome+" "+e.Message
		return e
	}
	if errors.Is(err, ErrNotPinned) {
		return conflict("not_pinned", "", "No version is pinned: the files are in force.")
	}
	return versionError(err, version)
}
