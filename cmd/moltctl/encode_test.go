// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// TestEveryIDIsShownAsOne: of the numbers in answers, each is known as an id or as a plain number. A new field must be put
// into one of both.
func TestEveryIDIsShownAsOne(t *testing.T) {
	plain := []string{"Update.made_since"}
	var walk func(protoreflect.MessageDescriptors)
	walk = func(list protoreflect.MessageDescriptors) {
		for i := range list.Len() {
			m := list.Get(i)
			walk(m.Messages())
			for j := range m.Fields().Len() {
				f := m.Fields().Get(j)
				name := fieldName(f)
				if _, known := ids[name]; f.Kind() == protoreflect.Uint64Kind && !strings.Contains(name, "Request.") &&
					name != "CreateUpdateResponse.id" && known == slices.Contains(plain, name) {
					t.Errorf("%s is neither an id nor a plain number, or both", name)
				}
			}
		}
	}
	walk(api.File_snapshotter_api_control_v1_control_proto.Messages())
}

// TestDiffLines: a diff is one JSON document a line, with paths as text, and as bytes where they are no text.
func TestDiffLines(t *testing.T) {
	d := &fakeDaemon{diff: []*api.DiffStorageResponse{{Path: []byte("etc/x"), Kind: "file", Size: 1 << 40, Node: 9}, {Path: []byte("a\xff"), Kind: "file"}}}
	out, _, _ := d.ctl(t, "--format", "json", "storage", "diff", "web")
	var got []map[string]any
	for line := range strings.Lines(out) {
		one := map[string]any{}
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		got = append(got, one)
	}
	if len(got) != 2 || got[0]["path"] != "/etc/x" || got[0]["node"] != "n9" || got[0]["size"] != float64(1<<40) || got[0]["path_raw"] != nil {
		t.Errorf("got %v", got)
	}
	if got[1]["path"] != "/a\ufffd" || got[1]["path_raw"] != "L2H/" || got[1]["node"] != nil {
		t.Errorf("got %v", got[1])
	}
}

// TestMessageJSON: what is not set is there, ids are those that commands take, and sizes are numbers.
func TestMessageJSON(t *testing.T) {
	u := proto.CloneOf(graph().GetUpdates()[0])
	want := `{"id":"u1","from":"n3","to":"n4","from_ref":"app:1"`
	if got := string(compactJSON(u)); !strings.HasPrefix(got, want) || !strings.Contains(got, `"created":"2026-01-02T03:07:00Z"`) || !json.Valid([]byte(got)) {
		t.Errorf("got %s", got)
	}
	want = `"size":1048576,"inodes":7,"created":null,"images":[]}`
	if got := string(compactJSON(&api.Node{Id: 1, Size: 1 << 20, Inodes: 7})); !strings.HasSuffix(got, want) || !strings.Contains(got, `"parent":null`) {
		t.Errorf("got %s", got)
	}
}

// TestDocuments: documents of the engine are passed on as they are, but for their paths.
func TestDocuments(t *testing.T) {
	for given, want := range map[string]string{
		`{}`: `{}`, `[]`: `[]`, `null`: `null`, `{"a": [1, 2.50, {}, true]}`: `{"a":[1,2.50,{},true]}`,
		`{"path": "etc/x", "paths": [{"path": "a<b", "was": "b"}, {"path": ""}]}`: `{"path":"/etc/x","paths":[{"path":"/a<b","was":"/b"},{"path":""}]}`,
		`{"path": ".", "path_bytes": "YQ==", "stack": null}`:                      `{"path":"/","path_raw":"L2E=","stack":null}`,
		`{"pins": [{"path": "/etc/motd"}], "n": 12345678901234567890}`:            `{"pins":[{"path":"/etc/motd"}],"n":12345678901234567890}`,
	} {
		var got bytes.Buffer
		if err := copyDocument(&got, strings.NewReader(given)); err != nil || got.String() != want {
			t.Errorf("%s becomes %s, not %s: %v", given, &got, want, err)
		}
	}
	if err := copyDocument(new(bytes.Buffer), strings.NewReader(`{"a": [1`)); err == nil {
		t.Error("a document that is cut off is taken for whole")
	}
}
