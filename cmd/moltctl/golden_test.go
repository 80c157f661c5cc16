// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// report is what an update found, as far as it is shown.
const report = `{
	"counts": {"hold": 1, "merge": 1, "keep": 4},
	"holds": [{"code": "package-manager-interrupted", "message": "package base-files is half installed"}],
	"packages": [{"name": "app", "old": "1", "new": "2", "user": "", "effective": "2", "reason": "untouched"}],
	"paths": [
		{"path": "etc/app.conf", "verdict": "merge", "rule": "text", "reason": "both changed", "driver": "text",
		 "old": "sha256:aa", "new": "sha256:bb", "user": "sha256:cc", "result": "sha256:dd"},
		{"path": "usr/bin/app", "verdict": "keep", "rule": "user", "reason": "the user's own", "package": "app",
		 "user": "sha256:cc", "result": "sha256:cc", "hidden": [{"package": "app", "version": "2"}, {"package": "lib", "version": "3"}]},
		{"path": "odd\u001b[2J", "path_bytes": "b2RkG1sySv8=", "verdict": "keep", "rule": "user", "reason": "evil \u001b]0;x\u0007 \u009b1m \u202e"}
	]
}`

// pathDiff is what changed at a path. Its text comes from inside a container.
const pathDiff = `{
	"path": "etc/app.conf",
	"sides": [
		{"side": "old base", "what": "regular file", "mode": "0644", "uid": 0, "gid": 0, "size": 12},
		{"side": "new base", "what": "symbolic link", "link": "../\u001b[2J", "mode": "0777", "uid": 0, "gid": 0, "size": 7},
		{"side": "storage", "at": "odd\u001b[2J", "what": "regular file", "mode": "4755", "uid": 33, "gid": 4, "size": 2048},
		{"side": "result", "uid": 0, "gid": 0, "size": 0}
	],
	"diffs": [
		{"from": "old base", "to": "new base", "why": "it is a symbolic link in the new base"},
		{"from": "old base", "to": "storage", "text": "--- old base\n+++ storage\n@@ -1,2 +1,3 @@\n a\tb\n-evil \u001b[2J \u009b1m \u202e\u0007\r\n+\n+\u00e9\n\\ No newline at end of file\n"},
		{"from": "storage", "to": "result", "text": "--- storage\n+++ result\n@@ -1 +0,0 @@\n-x\n"}
	]
}`

// golden runs commands and compares all that they print with a file. UPDATE_GOLDEN=1 writes the file again.
func golden(t *testing.T, file string, daemon func() *fakeDaemon, commands ...string) {
	t.Helper()
	var got bytes.Buffer
	for _, command := range commands {
		out, errOut, code := daemon().ctl(t, strings.Fields(command)...)
		fmt.Fprintf(&got, "$ moltctl %s\n%s%s[%d]\n\n", command, out, errOut, code)
	}
	path := filepath.Join("testdata", file)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
}

func TestGraphGolden(t *testing.T) {
	daemon := func() *fakeDaemon { return &fakeDaemon{graph: graph()} }
	golden(t, "graph.golden", daemon, "graph", "graph --all", "graph --format dot", "graph --format mermaid")
}

// TestSharedNodesGolden: storages that were forked share nodes, an update can begin within an image, and names can be odd.
func TestSharedNodesGolden(t *testing.T) {
	golden(t, "shared.golden", func() *fakeDaemon {
		g := graph()
		g.Storages = []*api.Storage{
			{Name: "default/one", Head: 9, Base: 4, Stack: []uint64{9, 8, 7}},
			{Name: "default/two", Head: 10, Base: 4, Key: "default/9/x", Container: "\x1b[31m\"red\"\n  n99 base layer", Stack: []uint64{10, 8, 7}},
		}
		g.Updates = []*api.Update{{Id: 7, From: 2, To: 4, State: api.State_STATE_ROLLED_BACK}}
		return &fakeDaemon{graph: g}
	}, "graph", "graph --format dot", "graph --format mermaid")
}

func TestTablesGolden(t *testing.T) {
	daemon := func() *fakeDaemon {
		return &fakeDaemon{
			graph: graph(), update: graph().GetUpdates()[0], merged: []*api.MergeLayersResponse_Pair{{Lower: 3, Upper: 4}},
			diff: []*api.DiffStorageResponse{
				{Path: []byte("."), Kind: "directory", Node: 9, Change: "changed"},
				{Path: []byte("etc"), Kind: "directory", Opaque: true, Node: 8, Change: "changed"},
				{Path: []byte("etc/app.conf"), Kind: "file", Size: 4096, Node: 8, Change: "added"},
				{Path: []byte("etc/\x1b[2J\xff\n"), Kind: "deleted", Node: 7, Change: "deleted"},
				{Path: []byte("proc"), Kind: "directory", Node: 9, Change: "added", MountPoint: true},
				{Path: []byte("var/lib/molt"), Kind: "directory", Node: 8, Change: "added", Own: true},
			},
		}
	}
	golden(t, "tables.golden", daemon,
		"version", "storage ls", "storage ls --all", "storage inspect web", "storage history web", "storage diff web", "storage diff --all web", "storage rm web db", "storage ls --outdated", "storage rollback web", "df",
		"storage fork web copy", "layer ls", "layer merge --dry-run", "update ls", "update inspect u1", "update inspect 1",
		"update create --from app:1 --to app:2", "update create --from app:1 --to app:2 --detach", "update rollback u1")
}

func TestBesideGolden(t *testing.T) {
	const in = "var/lib/molt/beside/"
	golden(t, "beside.golden", func() *fakeDaemon {
		return &fakeDaemon{graph: graph(), beside: []*api.ListBesideResponse{
			{Version: "new", Path: []byte("etc/$(x)\x1b"), At: []byte(in + "new/etc/$(x)\x1b"), Kind: "regular file"},
			{Version: "new", At: []byte(in + "new/sha256-1"), Kind: "regular file", Size: 1},
			{Version: "new", Path: []byte("etc/it's"), At: []byte(in + "new/etc/it's"), Kind: "regular file", Size: 4096},
			{Version: "new", Path: []byte("etc/a"), At: []byte(in + "new/etc/a"), Kind: "regular file", Size: 1},
			{Version: "old", Path: []byte("etc/a"), At: []byte(in + "old/etc/a"), Kind: "symbolic link", Size: 1, Link: "b"},
			{Version: "old", Path: []byte("etc/\x1b\xff"), At: []byte(in + "old/etc/\x1b\xff"), Kind: "regular file"},
		}}
	}, "storage beside ls web", "storage beside ls web /etc", "--format json storage beside ls web", "storage beside ls", "storage beside cat web /etc/a", "storage beside cat --version old web /etc/a",
		"storage beside cat web "+in+"old/etc/a", "storage beside cat web etc/b", "storage beside cat web")
	golden(t, "besidenone.golden", func() *fakeDaemon { return &fakeDaemon{graph: graph()} }, "storage beside ls web")
}

// tiedWaiting is what waits after an update, as reports and audits have it.
const tiedWaiting = `{
	"package": "perl-base", "arch": "amd64", "source": "perl", "kept": "5-3", "base": "5-4", "fix": true,
	"for": [{"package": "perl", "version": "5-3", "needs": "perl-base (= 5-3)"}],
	"do": "apt-get update && apt-get install --only-upgrade perl perl-base"
}`

// TestWaitingGolden: an update that leaves fixes out is applied nowhere without their number, and is told from one that reached all.
func TestWaitingGolden(t *testing.T) {
	golden(t, "waiting.golden", func() *fakeDaemon {
		g := graph()
		u := g.GetUpdates()[0]
		u.Outcomes = append(u.Outcomes[1:], &api.Outcome{Storage: "default/git", State: api.State_STATE_APPLIED, Delta: 9, Report: true, FixesWaiting: 1, Time: at(7)})
		for _, s := range g.GetStorages() {
			if s.GetName() == "default/web" {
				s.FixesWaiting = 3
			}
		}
		report := `{"counts": {"keep": 2}, "packages": [], "waiting": [` + tiedWaiting + `,
			{"package": "perl-doc", "source": "perl", "kept": "5-3", "base": "", "with": "perl-base", "do": "apt-get update && apt-get install --only-upgrade perl perl-base"}]}`
		return &fakeDaemon{
			graph: g, update: u, report: []byte(report),
			preview: []preview{{Preview: &api.Preview{Storage: "default/git", FixesWaiting: 1}, report: report}},
			document: []byte(`{"packages": [{"name": "perl-base", "base": "5-4", "seen": "5-3", "lower": true, "reason": "an update has kept it: perl 5-3 needs perl-base (= 5-3)",
				"waits": ` + tiedWaiting + `}], "paths": [], "fixes": 1}`),
		}
	}, "update ls", "update inspect u1", "update create --from app:1 --to app:2", "update create --from app:1 --to app:2 --dry-run",
		"update report --storage git u1", "storage history git", "storage inspect web", "storage audit git", "graph")
}

// TestMergeGolden: why layers are not merged, for reasons of every kind.
func TestMergeGolden(t *testing.T) {
	type (
		kept   = api.MergeLayersResponse_Kept
		reason = api.MergeLayersResponse_Reason
	)
	chain := "sha256:" + strings.Repeat("ab", 32)
	all := []*kept{
		{Lower: 1, Upper: 2, Reasons: []*reason{{Code: "base-layer", Node: 1}}},
		{Lower: 2, Upper: 3, Reasons: []*reason{{Code: "base-layer", Node: 2}}},
		{Lower: 3, Upper: 4, Reasons: []*reason{
			{Code: "named", Node: 3, Namespace: "default", Key: chain, Images: []string{"app:3", "app:latest"}},
			{Code: "key", Node: 3, Namespace: "default", Key: "job", Container: "job"},
			{Code: "rollback-point", Node: 3, Storage: "default/web", Update: 4},
			{Code: "named", Node: 4, Namespace: "default", Key: chain},
		}},
		{Lower: 4, Upper: 5, Reasons: []*reason{
			{Code: "named", Node: 4, Namespace: "default", Key: chain}, {Code: "key", Node: 4, Key: "view \x1b[2J"},
			{Code: "storage", Node: 4, Storage: "default/web"},
			{Code: "storage", Node: 4, Key: "job", Container: "job"},
			{Code: "set-aside", Node: 4, Storage: "default/web", Update: 5},
		}, More: 12},
		{Lower: 5, Upper: 6, Reasons: []*reason{
			{Code: "update", Node: 5, Update: 7}, {Code: "layer", Node: 9}, {Code: "damaged", Node: 6},
			{Code: "of a later daemon"},
		}},
		{Lower: 6, Upper: 7, Reasons: []*reason{{Code: "put-off", Detail: "n6 is mounted to be written"}}},
	}
	golden(t, "merge.golden", func() *fakeDaemon { return &fakeDaemon{kept: all} }, "layer merge")
	some := func() *fakeDaemon {
		return &fakeDaemon{merged: []*api.MergeLayersResponse_Pair{{Lower: 8, Upper: 9}}, kept: all[2:3]}
	}
	golden(t, "merged.golden", some, "layer merge --dry-run")

	// Programs get the reasons as data.
	out, errOut, code := some().ctl(t, "layer", "merge", "--format", "json")
	var got struct {
		Merged []struct{ Lower, Upper string }
		Kept   []struct {
			Lower   string
			Reasons []struct {
				Code, Node, Container, Storage, Update string
				Images                                 []string
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitOK || len(got.Merged) != 1 || len(got.Kept) != 1 {
		t.Fatalf("got %s%s, %d: %v", out, errOut, code, err)
	}
	reasons := got.Kept[0].Reasons
	if got.Merged[0].Upper != "n9" || got.Kept[0].Lower != "n3" || len(reasons) != 4 || len(reasons[0].Images) != 2 ||
		reasons[1].Container != "job" || reasons[2].Storage != "default/web" || reasons[2].Update != "u4" {
		t.Errorf("got %+v", got)
	}
}

// TestCancelGolden: what cancel comes to for storages of every kind.
func TestCancelGolden(t *testing.T) {
	golden(t, "cancel.golden", func() *fakeDaemon {
		return &fakeDaemon{fates: []*api.Undone{
			{Storage: "default/back", Fate: "rollback withdrawn", Why: "the storage stays where the update moved it"},
			{Storage: "default/done", Fate: "is rolled back", Why: "the rollback of update u1 of storage \"default/done\" is already carried out"},
			{Storage: "default/waits", Fate: "withdrawn"},
			{Storage: "default/web", Fate: "failed", Code: uint32(codes.FailedPrecondition), Why: "it is already applied, use rollback"},
		}}
	}, "update cancel u1", "update cancel --help")
}

func TestReportsGolden(t *testing.T) {
	daemon := func() *fakeDaemon {
		return &fakeDaemon{
			update: &api.Update{Id: 2, Outcomes: []*api.Outcome{{Storage: "default/web", State: api.State_STATE_HELD}}}, report: []byte(report), pathDiff: []byte(pathDiff),
			preview: []preview{
				{&api.Preview{Storage: "default/web", Holds: []string{"package base-files is half installed"}}, report},
				{&api.Preview{Storage: "default/runs", Waits: "container runs is running", Use: "use-running"}, `{"counts": {"keep": 1}}`},
				{&api.Preview{Storage: "default/exact"}, ""},
				{&api.Preview{Storage: "default/lost", Error: "node n7 is damaged", Code: uint32(codes.FailedPrecondition)}, ""},
				{&api.Preview{Storage: "default/refused", Holds: []string{"\"x\" carries trusted.overlay.redirect"}}, ""},
			},
		}
	}
	golden(t, "reports.golden", daemon,
		"update report u2", "update report --storage web u2 /usr/bin/app", "update report u2 etc/app.conf", "update report u2 /nothing",
		"update create --from a --to b --dry-run", "update create --from a --to b --dry-run --all-or-nothing", "update rollback u2 --dry-run")
	t.Run("of nothing", func(t *testing.T) {
		out, errOut, code := (&fakeDaemon{}).ctl(t, "update", "create", "--from", "a", "--to", "b", "--dry-run")
		if out != "no storage is concerned\n" || errOut != "" || code != exitOK {
			t.Errorf("got %q, %q, %d", out, errOut, code)
		}
	})
}

// TestReportPathGolden: there may be no report yet, and no nodes any longer.
func TestReportPathGolden(t *testing.T) {
	planned := &api.Update{Id: 2, Outcomes: []*api.Outcome{{Storage: "default/web", State: api.State_STATE_PLANNED}}}
	golden(t, "planned.golden", func() *fakeDaemon { return &fakeDaemon{update: planned, pathDiff: []byte(pathDiff)} },
		"update report u2", "update report u2 /etc/app.conf")
	gone := `{"path": "etc/app.conf", "why": "the update was rolled back; only digests can be told", "sides": [], "diffs": []}`
	golden(t, "gone.golden", func() *fakeDaemon {
		return &fakeDaemon{
			update: planned, report: []byte(`{"version": 1, "paths": [{"path": "etc/app.conf", "verdict": "keep"}]}`),
			pathDiff: []byte(gone),
		}
	}, "update report u2 /etc/app.conf", "update report --format json u2 /etc/app.conf")
}

// TestFindingsInText: what an update does to the owners of files is in the text of its report, as any other finding.
func TestFindingsInText(t *testing.T) {
	d := &fakeDaemon{report: []byte(`{"counts": {"remap": 2}, "findings": [
		{"check": "account", "path": "etc/passwd", "message": "the user other is 105 in the base and 100 here; 2 files of the base follow", "severity": "warn"},
		{"check": "account", "path": "etc/\u001b[2J", "message": "evil \u001b[2J", "severity": "hold"}]}`)}
	d.update = &api.Update{Id: 2, Outcomes: []*api.Outcome{{Storage: "default/web", State: api.State_STATE_APPLIED}}}
	out, errOut, code := d.ctl(t, "update", "report", "u2")
	if code != exitOK || errOut != "" || strings.Contains(out, "\x1b") || !strings.Contains(out, "hold:") {
		t.Errorf("got %q, %q, %d", out, errOut, code)
	}
	if got := strings.Join(strings.Fields(out), " "); !strings.Contains(got, "warn: /etc/passwd the user other is 105 in the base and 100 here; 2 files of the base follow") {
		t.Errorf("got %q", out)
	}
}
