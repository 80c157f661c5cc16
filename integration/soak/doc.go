// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package soak lets several clients do random things to one daemon for a given time, deaths and damage in between,
// and compares every storage with a model of what must be in it.
package soak
