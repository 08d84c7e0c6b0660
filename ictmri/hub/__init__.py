"""The Hugging Face Hub: releases fetched, kept and checked."""
