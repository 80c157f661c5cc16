// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// odd holds characters that a terminal may obey, as a container may use them in names.
const odd = "\u009b1m\u202e\u2066\ufeff\u2028\U000e0041\x7f é日\U0001f600"

// TestEscaper: no character that is not printable is passed on, wherever the text is cut, and the value stays what it was.
func TestEscaper(t *testing.T) {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(map[string]string{odd: odd}); err != nil {
		t.Fatal(err)
	}
	for size := 1; size < 8; size++ {
		var got strings.Builder
		e := &escaper{w: &got}
		for rest := plain.Bytes(); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if _, err := e.Write(rest[:min(size, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range got.String() {
			if !unicode.IsPrint(r) && r != '\n' {
				t.Errorf("in pieces of %d, %U is passed on", size, r)
			}
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(got.String()), &back); err != nil || back[odd] != odd || !strings.Contains(got.String(), "é日\U0001f600") {
			t.Errorf("in pieces of %d it is %q, %v", size, got.String(), err)
		}
	}
}

// TestDocument: an answer that comes in parts is printed as the same JSON as one that comes as a whole.
func TestDocument(t *testing.T) {
	update := func(id uint64, storages ...string) *api.Update {
		u := &api.Update{Id: id}
		for _, s := range storages {
			u.Outcomes = append(u.Outcomes, &api.Outcome{Storage: s + odd})
		}
		return u
	}
	for name, parts := range map[string][]proto.Message{
		"nothing": {&api.GraphResponse{}},
		"lists": {
			&api.GraphResponse{Nodes: []*api.Node{{Id: 1}, {Id: 2, Images: []string{"x"}}}}, &api.GraphResponse{Nodes: []*api.Node{{Id: 3}}},
			&api.GraphResponse{Storages: []*api.Storage{{Name: odd}}, Updates: []*api.Update{update(1, "a")}},
			&api.GraphResponse{Updates: []*api.Update{update(1, "b", "c")}}, &api.GraphResponse{Updates: []*api.Update{update(1, "d"), update(2)}},
		},
		"texts": {
			&api.CheckResponse{Problems: []*api.Problem{{Subject: "a"}}}, &api.CheckResponse{Failures: []string{odd}},
			&api.CheckResponse{Failures: []string{"b\n\""}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			whole := parts[0].ProtoReflect().New().Interface()
			var got bytes.Buffer
			d := newDocument(&got)
			for _, part := range parts {
				api.Append(whole, part)
				if err := d.add(proto.Clone(part)); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.close(whole.ProtoReflect().New().Interface()); err != nil {
				t.Fatal(err)
			}
			want := compactJSON(whole)
			var a, b any
			if err := json.Unmarshal(got.Bytes(), &a); err != nil {
				t.Fatalf("%v: %s", err, &got)
			}
			if err := json.Unmarshal(want, &b); err != nil || !reflect.DeepEqual(a, b) {
				t.Errorf("got\n%s\nwant\n%s, %v", &got, want, err)
			}
		})
	}
	d := newDocument(new(bytes.Buffer))
	nodes := &api.GraphResponse{Nodes: []*api.Node{{Id: 1}}}
	for _, part := range []proto.Message{nodes, &api.GraphResponse{Updates: []*api.Update{{Id: 1}}}} {
		if err := d.add(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.add(nodes); err == nil {
		t.Error("a list is taken that is done")
	}
}

// TestJSONIsHarmless: every command that prints JSON prints valid JSON without characters that a terminal may obey.
func TestJSONIsHarmless(t *testing.T) {
	text, err := json.Marshal(odd)
	if err != nil {
		t.Fatal(err)
	}
	daemon := func() *fakeDaemon {
		g := graph()
		g.Storages[0].Name, g.Nodes[0].Damage, g.Updates[0].FromRef = odd, odd, odd
		report := fmt.Sprintf(`{"version": 1, "paths": [{"path": %s}]}`, text)
		return &fakeDaemon{
			graph: g, update: g.GetUpdates()[0], report: []byte(report), pathDiff: fmt.Appendf(nil, `{"path": %s}`, text),
			problems: []*api.Problem{{Subject: odd}},
			preview:  []preview{{&api.Preview{Storage: odd}, report}, {&api.Preview{Storage: "waits", Waits: odd}, ""}},
		}
	}
	for _, command := range []string{
		"storage ls", "storage inspect web", "graph", "layer ls", "update ls", "update inspect u1", "update report --storage web u1",
		"update report --storage web u1 x", "update create --from a --to b --dry-run", "update create --from a --to b", "check",
	} {
		t.Run(command, func(t *testing.T) {
			out, errOut, code := daemon().ctl(t, append([]string{"--format", "json"}, strings.Fields(command)...)...)
			if code != exitOK || !json.Valid([]byte(out)) {
				t.Fatalf("%d, %s: %s", code, errOut, out)
			}
			for _, r := range out {
				if !unicode.IsPrint(r) && r != '\n' {
					t.Errorf("it has %U", r)
				}
			}
			if !strings.Contains(out, `\u009b`) && !strings.Contains(command, "dry-run") {
				t.Errorf("the name is not in it: %s", out)
			}
		})
	}
}

// TestPreviewsJSON: a dry run has the shape of a message, each preview with its report.
func TestPreviewsJSON(t *testing.T) {
	d := &fakeDaemon{preview: []preview{{&api.Preview{Storage: "a"}, report}, {&api.Preview{Storage: "b", Holds: []string{"x"}}, ""}}}
	out, _, code := d.ctl(t, "--format", "json", "update", "create", "--from", "a", "--to", "b", "--dry-run")
	var got struct {
		Previews []struct {
			Storage string
			Holds   []string
			Report  json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitHeld || len(got.Previews) != 2 {
		t.Fatalf("%v, %d: %s", err, code, out)
	}
	var a, b any
	shown := strings.NewReplacer(`"path": "`, `"path": "/`, `"path_bytes": "b2RkG1sySv8="`, `"path_raw": "L29kZBtbMkr/"`).Replace(report)
	if json.Unmarshal(got.Previews[0].Report, &a) != nil || json.Unmarshal([]byte(shown), &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("the report is %s", got.Previews[0].Report)
	}
	if got.Previews[1].Storage != "b" || len(got.Previews[1].Holds) != 1 || string(got.Previews[1].Report) != "null" {
		t.Errorf("got %+v", got.Previews[1])
	}
	out, _, _ = new(fakeDaemon).ctl(t, "--format", "json", "update", "create", "--from", "a", "--to", "b", "--dry-run")
	if !json.Valid([]byte(out)) || !strings.Contains(out, `"previews": []`) {
		t.Errorf("of nothing it is %s", out)
	}
}

// TestManyPaths: a report with many paths is printed as it comes, with every path.
func TestManyPaths(t *testing.T) {
	for _, n := range []int{sortedPaths, sortedPaths + 1, 3 * sortedPaths} {
		var b strings.Builder
		fmt.Fprintf(&b, `{"version": 1, "counts": {"keep": %d}, "paths": [`, n)
		for i := range n {
			verdict := map[bool]string{true: "hold", false: "keep"}[i == n-1]
			fmt.Fprintf(&b, `%s{"path": "p%d", "verdict": %q}`, map[bool]string{true: "", false: ","}[i == 0], i, verdict)
		}
		b.WriteString("]}")
		out, errOut, code := (&fakeDaemon{report: []byte(b.String())}).ctl(t, "update", "report", "--storage", "web", "u1")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if code != exitOK || strings.Count(out, "/p") != n {
			t.Fatalf("%d: %s, %d lines", code, errOut, len(lines))
		}
		first, sorted := strings.HasPrefix(lines[1], "  hold"), n <= sortedPaths
		if first != sorted || strings.Contains(out, "in order:") == sorted {
			t.Errorf("%d paths begin with %q", n, lines[1])
		}
	}
}

// TestForced: what an update was forced past is not shown as what holds it.
func TestForced(t *testing.T) {
	report := `{"version": 1, "holds": [{"message": "another distribution", "do": "name another image"}], "forced": true, "paths": []}`
	out, _, _ := (&fakeDaemon{report: []byte(report)}).ctl(t, "update", "report", "--storage", "web", "u1")
	if !strings.Contains(out, "forced past:  another distribution") || strings.Contains(out, "held") || strings.Contains(out, "to do") {
		t.Errorf("it says %s", out)
	}
}

// TestBlankEnds: a blank at the end of a name can be seen.
func TestBlankEnds(t *testing.T) {
	for path, want := range map[string]string{
		"/a b": "/a b", "/a ": `"/a "`, "/ a": `"/ a"`, "/a /b": `"/a /b"`, "/a": "/a", "/": "/", "/a\u3000": `"/a\u3000"`,
	} {
		if got := printable([]byte(path)); got != want {
			t.Errorf("%q is shown as %s, not %s", path, got, want)
		}
	}
}

// TestOtherVersion: a daemon that does not have what it is asked for is said to be of another version, and nothing is printed.
func TestOtherVersion(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer() // that has another service
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	for _, command := range []string{"update create --from a --to b", "update create --from a --to b --dry-run", "storage ls", "check", "version"} {
		var out, errOut bytes.Buffer
		code := run(t.Context(), append([]string{"moltctl", "--address", socket}, strings.Fields(command)...), &out, &errOut)
		if code != exitFailed || out.Len() > 0 || !strings.Contains(errOut.String(), "older or newer than moltctl; restart it with the same version") {
			t.Errorf("%s ends with %d: %s%s", command, code, &out, &errOut)
		}
	}
}

// TestWatchedParts: what comes in parts while an update is followed is put together by storage.
func TestWatchedParts(t *testing.T) {
	d := &fakeDaemon{update: &api.Update{Id: 1}, watched: []*api.Update{
		{Id: 1, State: api.State_STATE_STAGING, Outcomes: []*api.Outcome{{Storage: "a", State: api.State_STATE_STAGING}, {Storage: "b", State: api.State_STATE_STAGING}}},
		{Id: 1, Outcomes: []*api.Outcome{{Storage: "c", State: api.State_STATE_HELD}}},
		{Id: 1, State: api.State_STATE_APPLIED, Outcomes: []*api.Outcome{{Storage: "b", State: api.State_STATE_APPLIED}}},
		{Id: 1, State: api.State_STATE_APPLIED, Outcomes: []*api.Outcome{{Storage: "a", State: api.State_STATE_APPLIED}}},
	}}
	out, errOut, code := d.ctl(t, "update", "create", "--from", "a", "--to", "b")
	for _, want := range []string{"state     applied in part", "a        applied", "b        applied", "c        held"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
	if code != exitHeld || !strings.Contains(errOut, "of 3 storages: 1 held") {
		t.Errorf("it ends with %d: %s", code, errOut)
	}
}
