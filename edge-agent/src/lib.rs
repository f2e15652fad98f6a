//! Forewarn: edge-agent.
