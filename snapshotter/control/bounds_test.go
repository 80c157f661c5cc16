// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// bounded lists the fields of single answers that can hold any number of things, by their full names, each with what bounds it.
// Whoever adds one states why it stays far below the 4 MiB that gRPC clients take.
var bounded = map[protoreflect.FullName]string{"molt.control.v1r4.DiskUsageResponse.rows": "one for each kind of thing, of which there are five"}

// TestSingleAnswersAreBounded: an answer that is one message holds nothing whose size follows the data.
func TestSingleAnswersAreBounded(t *testing.T) {
	used := map[protoreflect.FullName]bool{}
	single := 0
	services := api.File_snapshotter_api_control_v1_control_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			if method := methods.Get(j); !method.IsStreamingServer() {
				single++
				for _, field := range unbounded(method.Output(), nil) {
					used[field] = true
					if bounded[field] == "" {
						t.Errorf("%s answers with one message, in which %s is not bounded", method.Name(), field)
					}
				}
			}
		}
	}
	if single == 0 {
		t.Error("no method was looked at")
	}
	for field := range bounded {
		if !used[field] {
			t.Errorf("%s is in no single answer", field)
		}
	}
}

// unbounded returns the lists, maps and bytes in a message, those in messages within it included.
func unbounded(m protoreflect.MessageDescriptor, within []protoreflect.FullName) (fields []protoreflect.FullName) {
	for _, name := range within {
		if name == m.FullName() {
			return nil
		}
	}
	within = append(within, m.FullName())
	for i := range m.Fields().Len() {
		field := m.Fields().Get(i)
		if field.IsList() || field.IsMap() || field.Kind() == protoreflect.BytesKind {
			fields = append(fields, field.FullName())
		}
		if field.Message() != nil {
			fields = append(fields, unbounded(field.Message(), within)...)
		}
	}
	return fields
}

// TestUnboundedSeesAll: the search that TestSingleAnswersAreBounded rests on finds lists, bytes, maps, and those within others.
func TestUnboundedSeesAll(t *testing.T) {
	messages := api.File_snapshotter_api_control_v1_control_proto.Messages()
	for name, want := range map[protoreflect.Name]string{
		"GetUpdateResponse": "Update.outcomes", "CreateUpdateRequest": "CreateUpdateRequest.policy", "BackupResponse": "BackupResponse.data",
	} {
		found := false
		for _, field := range unbounded(messages.ByName(name), nil) {
			found = found || strings.HasSuffix(string(field), "."+want)
		}
		if !found {
			t.Errorf("%s is not found in %s", want, name)
		}
	}
}

// TestBoundsAreStated: the comment on each method says what bounds its answer.
func TestBoundsAreStated(t *testing.T) {
	proto, err := os.ReadFile("../api/control/v1/control.proto")
	if err != nil {
		t.Fatal(err)
	}
	comment, methods := "", 0
	for line := range strings.Lines(string(proto)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "//"):
			comment += line
			continue
		case strings.HasPrefix(line, "rpc "):
			if methods++; !strings.Contains(comment, "Bound: ") {
				t.Errorf("nothing says what bounds the answer of %s", line)
			}
		}
		comment = ""
	}
	if want := api.Control_ServiceDesc; methods != len(want.Methods)+len(want.Streams) {
		t.Errorf("%d methods were looked at", methods)
	}
}
