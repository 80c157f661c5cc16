// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package controlv1

import (
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Word returns the value of an enum as programs and people have it, and the graph: "rolled-back" for STATE_ROLLED_BACK,
// "" for a value that is not set. One that a later daemon has is its number.
func Word(e protoreflect.Enum) string { return WordIn(e.Descriptor(), e.Number()) }

// WordIn returns the value of an enum with a number, as Word does.
func WordIn(enum protoreflect.EnumDescriptor, number protoreflect.EnumNumber) string {
	value := enum.Values().ByNumber(number)
	switch {
	case number == 0:
		return ""
	case value == nil:
		return strconv.Itoa(int(number))
	}
	return wordOf(value)
}

func wordOf(value protoreflect.EnumValueDescriptor) string {
	name := strings.TrimPrefix(string(value.Name()), prefix(value.Parent()))
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// prefix returns what the names of the values of an enum begin with: NODE_KIND_ for NodeKind.
func prefix(enum protoreflect.Descriptor) string {
	var b strings.Builder
	for i, r := range string(enum.Name()) {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String() + "_"
}

// Of returns the value of an enum that a word is; the one that is not set for a word that is none of them.
func Of[E interface {
	~int32
	protoreflect.Enum
}](word string) (none E) {
	values := none.Descriptor().Values()
	for i := range values.Len() {
		if value := values.Get(i); value.Number() != 0 && wordOf(value) == word {
			return E(value.Number())
		}
	}
	return none
}
