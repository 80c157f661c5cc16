// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// schemaPage is what is published of the form of the output for programs. UPDATE_GOLDEN=1 writes it again.
const schemaPage = "../../docs/moltctl.schema.json"

// outputVersion is the version of that form. It is raised when a field goes, or means something else.
const outputVersion = "1"

// documents says for each command what one document of its output is.
var documents = map[string]any{
	"storage ls": ref("api.ListStoragesResponse"), "storage inspect": ref("api.GetStorageResponse"),
	"storage history": ref("api.GetStorageResponse"), "storage diff": ref("api.DiffStorageResponse"),
	"storage rm": ref("removed"), "storage fork": ref("api.ForkStorageResponse"),
	"storage rollback": anyOf("api.RollbackUpdateResponse", "previews"),
	"storage explain":  ref("engine.Explanation"), "storage audit": ref("engine.AuditReport"),
	"storage pin": ref("engine.Options"), "storage unpin": ref("engine.Options"), "storage policy": ref("engine.Options"),
	"storage beside ls": ref("api.ListBesideResponse"), "storage beside cat": nil,
	"update create": anyOf("api.Update", "api.CreateUpdateResponse", "previews"),
	"update ls":     ref("api.ListUpdatesResponse"), "update inspect": ref("api.Update"),
	"update report":   anyOf("engine.Report", "pathReport", "storageReport"),
	"update rollback": anyOf("api.RollbackUpdateResponse", "previews"),
	"update cancel":   ref("api.CancelUpdateResponse"), "update apply": ref("api.Update"),
	"layer ls": ref("layers"), "layer merge": ref("api.MergeLayersResponse"),
	"container refresh": ref("api.RefreshContainerResponse"), "graph": ref("api.GraphResponse"),
	"df": ref("api.DiskUsageResponse"), "check": ref("api.CheckResponse"), "repair": ref("api.CheckResponse"),
	"backup": ref("file"), "codes": ref("codes"), "version": ref("api.VersionResponse"),
}

func ref(name string) map[string]any { return map[string]any{"$ref": "#/$defs/" + name} }

func anyOf(names ...string) map[string]any {
	all := make([]any, 0, len(names))
	for _, name := range names {
		all = append(all, ref(name))
	}
	return map[string]any{"anyOf": all}
}

func list(of any) map[string]any { return map[string]any{"type": "array", "items": of} }

func object(properties map[string]any, required ...string) map[string]any {
	return map[string]any{"type": "object", "properties": properties, "required": required}
}

// outputSchema returns the schema. It allows for fields that later versions add.
func outputSchema(t *testing.T) map[string]any {
	t.Helper()
	text := map[string]any{"type": "string"}
	defs := map[string]any{
		"error": object(map[string]any{"error": object(map[string]any{
			"code": text, "exit_code": map[string]any{"type": "integer"}, "message": text, "causes": list(text),
		}, "code", "exit_code", "message")}, "error"),
		"removed": object(map[string]any{"removed": list(text)}, "removed"),
		"layers":  object(map[string]any{"nodes": list(ref("api.Node"))}, "nodes"),
		"file":    object(map[string]any{"file": text}, "file"),
		"codes": object(map[string]any{"codes": list(object(map[string]any{
			"kind": text, "code": text, "means": text, "do": text, "command": text,
		}, "kind", "code", "means", "do", "command"))}, "codes"),
		"previews": object(map[string]any{"previews": list(map[string]any{"allOf": []any{
			ref("api.Preview"), object(map[string]any{"report": anyOf("engine.Report", "nothing")}, "report"),
		}})}, "previews"),
		"nothing":       map[string]any{"type": "null"},
		"storageReport": object(map[string]any{"storage": text, "report": ref("engine.Report")}, "storage", "report"),
		"pathReport":    object(map[string]any{"diff": ref("engine.PathDiff")}, "diff"), // and members of a report
	}
	engineTypes(t, defs)
	messages := api.File_snapshotter_api_control_v1_control_proto.Messages()
	for i := range messages.Len() {
		addMessage(defs, messages.Get(i))
	}
	for command, what := range documents {
		if what != nil {
			defs["moltctl "+command] = what
		}
	}
	return map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:molt:moltctl:" + outputVersion,
		"title": "What moltctl --format json prints, one definition for each command; an error goes to standard error",
		"$defs": defs,
	}
}

// engineTypes adds the documents of the engine.
func engineTypes(t *testing.T, defs map[string]any) {
	t.Helper()
	r := jsonschema.Reflector{
		Anonymous: true, AllowAdditionalProperties: true,
		Namer: func(of reflect.Type) string {
			if of.Name() == "" { // a list or a map has none, and stands where it is used
				return ""
			}
			return "engine." + of.Name()
		},
	}
	for _, v := range []any{servicing.Report{}, servicing.Explanation{}, servicing.AuditReport{}, servicing.PathDiff{}, servicing.Options{}} {
		data, err := json.Marshal(r.Reflect(v))
		if err != nil {
			t.Fatal(err)
		}
		var found struct {
			Defs map[string]any `json:"$defs"`
		}
		if err := json.Unmarshal(data, &found); err != nil {
			t.Fatal(err)
		}
		for name, def := range found.Defs {
			defs[name] = asPrinted(def)
		}
	}
}

// asPrinted changes a schema of Go's JSON into that of what moltctl makes of it: paths as bytes have another name, and
// lists without elements may be null.
func asPrinted(v any) any {
	m, is := v.(map[string]any)
	if !is {
		return v
	}
	out := make(map[string]any, len(m))
	for name, value := range m {
		switch {
		case name == rawPath:
			name = "path_raw"
		case name == "type" && (value == "array" || value == "object" && m["additionalProperties"] != nil && m["properties"] == nil):
			value = []any{value, "null"}
		}
		out[name] = asPrinted(value)
	}
	return out
}

// addMessage adds a message of the API, as it is printed: every field is there.
func addMessage(defs map[string]any, m protoreflect.MessageDescriptor) {
	properties, required := map[string]any{}, []string{}
	for i := range m.Fields().Len() {
		field := m.Fields().Get(i)
		what := fieldSchema(field)
		if field.IsList() {
			what = list(what)
		}
		name := string(field.Name())
		properties[name] = what
		required = append(required, name)
		if field.Kind() == protoreflect.BytesKind {
			properties[name+"_raw"] = map[string]any{"type": "string", "contentEncoding": "base64"}
		}
	}
	defs["api."+strings.TrimPrefix(string(m.FullName()), string(m.ParentFile().Package())+".")] = object(properties, required...)
	for i := range m.Messages().Len() {
		addMessage(defs, m.Messages().Get(i))
	}
}

func fieldSchema(field protoreflect.FieldDescriptor) map[string]any {
	kind, isID := ids[fieldName(field)]
	switch {
	case isID:
		return map[string]any{"type": []string{"string", "null"}, "pattern": "^" + kind + "[0-9]+$"}
	case field.Message() != nil && field.Message().FullName() == "google.protobuf.Timestamp":
		return map[string]any{"type": []string{"string", "null"}, "format": "date-time"}
	case field.Message() != nil && field.IsList():
		return ref("api." + strings.TrimPrefix(string(field.Message().FullName()), string(field.ParentFile().Package())+"."))
	case field.Message() != nil:
		of := "api." + strings.TrimPrefix(string(field.Message().FullName()), string(field.ParentFile().Package())+".")
		return anyOf(of, "nothing")
	case field.Kind() == protoreflect.BoolKind:
		return map[string]any{"type": "boolean"}
	case field.Enum() != nil:
		var words []string
		for i := range field.Enum().Values().Len() {
			words = append(words, api.WordIn(field.Enum(), field.Enum().Values().Get(i).Number()))
		}
		return map[string]any{"type": "string", "examples": words[1:]}
	case field.Kind() == protoreflect.StringKind, field.Kind() == protoreflect.BytesKind:
		return map[string]any{"type": "string"}
	}
	return map[string]any{"type": "integer"}
}

// TestSchemaIsPublished compares docs/moltctl.schema.json with what moltctl prints.
func TestSchemaIsPublished(t *testing.T) {
	got, err := json.MarshalIndent(outputSchema(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(schemaPage, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaPage)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what moltctl prints; UPDATE_GOLDEN=1 writes it again", schemaPage)
	}
}

// TestEveryCommandHasASchema: there is a document for each command, or the word that it prints none.
func TestEveryCommandHasASchema(t *testing.T) {
	var have, named []string
	var walk func(c *cli.Command, name string)
	walk = func(c *cli.Command, name string) {
		if len(c.Commands) == 0 {
			have = append(have, name)
		}
		for _, sub := range c.Commands {
			walk(sub, strings.TrimSpace(name+" "+sub.Name))
		}
	}
	walk(app(), "")
	for name := range documents {
		named = append(named, name)
	}
	slices.Sort(have)
	slices.Sort(named)
	if !slices.Equal(have, named) {
		t.Errorf("the commands are\n%q, documents are told of\n%q", have, named)
	}
}

// schemas compiles the schemas of commands.
func schemas(t *testing.T) *validator.Compiler {
	t.Helper()
	data, err := json.Marshal(closed(outputSchema(t)))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("output.json", doc); err != nil {
		t.Fatal(err)
	}
	return c
}

// checkDocuments checks each document of an output by the definition of a name. It returns how many there were.
func checkDocuments(t *testing.T, c *validator.Compiler, name, output string) (n int) {
	t.Helper()
	schema, err := c.Compile("output.json#/$defs/" + strings.ReplaceAll(name, " ", "%20"))
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(output))
	for ; ; n++ {
		var raw json.RawMessage
		if err := dec.Decode(&raw); errors.Is(err, io.EOF) {
			return n
		} else if err != nil {
			t.Fatalf("%s: %v in\n%s", name, err, output)
		}
		doc, err := validator.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v in\n%s", name, err, raw)
		}
	}
}

// closed has a schema refuse members that it does not name, so that a test sees what is not told of.
func closed(schema map[string]any) map[string]any {
	defs, _ := schema["$defs"].(map[string]any)
	for name, def := range defs {
		kind, _, in := strings.Cut(name, ".")
		if m, _ := def.(map[string]any); in && (kind == "api" || kind == "engine") && m["properties"] != nil && name != "api.Preview" {
			m["additionalProperties"] = false
		}
	}
	return schema
}

// TestOutputFitsItsSchema runs commands against a daemon that answers with everything there can be.
func TestOutputFitsItsSchema(t *testing.T) {
	c := schemas(t)
	encoded := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	g := graph()
	daemon := func() *fakeDaemon {
		return &fakeDaemon{
			graph: g, update: g.GetUpdates()[0], watched: g.GetUpdates()[:1],
			merged: []*api.MergeLayersResponse_Pair{{Lower: 3, Upper: 4}},
			kept:   []*api.MergeLayersResponse_Kept{{Lower: 1, Upper: 2, Reasons: []*api.MergeLayersResponse_Reason{{Code: "storage", Node: 1}}}},
			diff:   []*api.DiffStorageResponse{{Path: []byte("a\xff"), Kind: "file", Node: 8, Change: "added"}, {Path: []byte("b"), Kind: "deleted", Node: 8}},
			beside: []*api.ListBesideResponse{{Version: "new", Path: []byte("etc/a"), At: []byte("var/a"), Kind: "regular file"}},
			preview: []preview{{Preview: &api.Preview{Storage: "default/web", Reported: true}, report: string(encoded(filledReport()))},
				{Preview: &api.Preview{Storage: "default/db", Waits: "it runs", Use: "use-running"}}},
			report: encoded(filledReport()), problems: []*api.Problem{{Subject: "n1", What: "damaged"}},
			pathDiff: encoded(servicing.PathDiff{Path: "etc/a", Sides: []servicing.PathSide{{Side: "storage", What: "regular file"}}}),
		}
	}
	exits := map[string]bool{}
	for _, run := range []struct {
		command, args string
		document      any
	}{
		{"storage ls", "", nil}, {"storage ls", "--all", nil}, {"storage inspect", "web", nil}, {"storage history", "web", nil},
		{"storage diff", "web", nil}, {"storage rm", "web", nil}, {"storage fork", "web copy", nil}, {"storage rollback", "web", nil},
		{"storage explain", "web /etc/a", servicing.Explanation{Path: "etc/a", Exists: true, Stack: []servicing.Sight{{From: "n1"}}}},
		{"storage audit", "web", servicing.AuditReport{}},
		{"storage pin", "web /etc/a --reason x", servicing.Options{Pins: []servicing.Pin{{Path: "etc/a", Reason: "x"}}}},
		{"storage unpin", "web /etc/a", servicing.Options{}},
		{"storage policy", "web text=keep", servicing.Options{Policy: servicing.Policy{"text": "keep"}}},
		{"storage beside ls", "web", nil}, {"update create", "--from app:1 --to app:2", nil},
		{"update create", "--from app:1 --to app:2 --detach", nil}, {"update create", "--from app:1 --to app:2 --dry-run", nil},
		{"update ls", "", nil}, {"update inspect", "u1", nil}, {"update report", "u1", nil}, {"update report", "--storage web u1", nil},
		{"update report", "--storage web u1 /etc/a", nil}, {"update rollback", "u1", nil}, {"update rollback", "--dry-run u1", nil},
		{"update cancel", "u1", nil}, {"update apply", "u1", nil}, {"layer ls", "", nil}, {"layer merge", "", nil},
		{"container refresh", "c --from a --to b", nil}, {"graph", "", nil}, {"df", "", nil}, {"check", "", nil}, {"repair", "", nil},
		{"backup", t.TempDir() + "/copy", nil}, {"codes", "", nil}, {"codes", "held", nil}, {"version", "", nil},
	} {
		d := daemon()
		if run.document != nil {
			d.document = encoded(run.document)
		}
		words := strings.Fields("--format json " + run.command + " " + run.args)
		out, errOut, code := d.ctl(t, words...)
		if n := checkDocuments(t, c, "moltctl "+run.command, out); n == 0 {
			t.Errorf("%s: exit code %d, nothing printed; %s", words, code, errOut)
		}
		checkDocuments(t, c, "error", errOut)
		exits[run.command] = true
	}
	for command, what := range documents {
		if what != nil && !exits[command] {
			t.Errorf("%s is not tried", command)
		}
	}
	_, errOut, _ := (&fakeDaemon{graph: g}).ctl(t, "--format", "json", "storage", "inspect")
	if checkDocuments(t, c, "error", errOut) != 1 {
		t.Errorf("an error is %q", errOut)
	}
}

// filledReport is a report with an element in each list.
func filledReport() servicing.Report {
	return servicing.Report{
		Version: 1, Counts: map[servicing.Verdict]int{"keep": 1},
		Packages: []servicing.PackageReport{{Name: "a"}}, IDs: []servicing.IDRemap{{Kind: "uid"}},
		Holds:    []servicing.Reason{{Code: "conflict", Path: "etc/a", Message: "x"}},
		Findings: []servicing.CheckFinding{{Check: "link", Path: "etc/a"}},
		Pins:     []servicing.PinReport{{}}, Waiting: []servicing.Waiting{{}}, Withheld: []servicing.Withheld{{}},
		Paths:   []servicing.PathReport{{Path: "etc/a\x1b", PathBytes: []byte("etc/a\xff"), Verdict: "keep", Hidden: []servicing.Fix{{}}}},
		Effects: []servicing.EffectReport{{Path: "etc/a", What: "whiteout"}},
	}
}
